"""Tables of coupling points as xarray users expect them."""

import numpy as np
import pytest
import xarray

import theories
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.result import Compared, Measured, exact_result, known
from lattice_flows.ensembles.results_file import save_results
from lattice_flows.io.netcdf import read_dataset
from lattice_flows.sampling.scan import Scan, exact_curve
from observables import exact_answers

THEORY = theories.make("phi4", (4,))
COUPLINGS = ("m", "lam", "alpha")


def measured(mass):
    """What is measured on a few draws, whatever they stand for."""
    rng = np.random.default_rng(int(100 * mass))
    ensemble = Ensemble(
        THEORY, THEORY.from_values(m=mass), rng.normal(size=(512, 4)), rng.normal(size=512)
    )
    exact = known(exact_answers(THEORY, ensemble.couplings), ["phi2"])
    return Compared(THEORY, ensemble.couplings, ensemble.measure(), exact=exact)


def table(path, masses, kind="scan"):
    if kind == "scan":
        results = [measured(mass) for mass in masses]
        Scan(results, exact_curve(THEORY, [result.couplings for result in results]), {}).save(path)
    else:
        results = [exact_result(THEORY, THEORY.from_values(m=mass)) for mass in masses]
        save_results(path, kind, results)
    return results


@pytest.mark.parametrize("kind", ["scan", "exact-table"])
def test_couplings_are_coordinates_to_select_by(tmp_path, kind):
    results = table(tmp_path / "a.nc", (0.25, 0.5, 1.0), kind)
    expected = [result.observables["phi2"].value for result in results]
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        assert set(file.coords) == set(COUPLINGS)
        assert set(file.phi2.coords) == set(COUPLINGS) and file.phi2.dims == ("coupling_point",)
        assert "exact_point" not in file.sizes
        by_mass = file.set_xindex("m")
        assert by_mass.phi2.sel(m=0.5) == expected[1]
        assert by_mass.phi2.sel(m=0.9, method="nearest") == expected[2]
        np.testing.assert_array_equal(file.phi2.where(file.m < 0.9, drop=True), expected[:2])


def test_of_one_ensemble_they_are_scalars(tmp_path):
    one = measured(0.5)
    save_results(
        tmp_path / "a.nc", "observables", [Measured(THEORY, one.couplings, one.measurement)]
    )
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        assert file.phi2.coords.keys() == set(COUPLINGS) and file.m == 0.5


def test_scans_are_joined_along_their_points_and_lose_nothing(tmp_path, caplog):
    low, high = table(tmp_path / "1.nc", (0.25, 0.5)), table(tmp_path / "2.nc", (0.75, 1.0, 1.25))
    parts = [xarray.open_dataset(tmp_path / f"{i}.nc") for i in (1, 2)]
    whole = xarray.concat(parts, dim="coupling_point", data_vars="minimal", coords="minimal",
                          compat="equals", join="exact")  # fmt: skip
    assert set(whole.variables) == set(parts[0].variables) == set(parts[1].variables)
    assert dict(whole.sizes) == {"coupling_point": 5, "bound": 2}
    by_mass = whole.set_xindex("m")
    for result in [*low, *high]:
        for name, estimate in result.observables.items():
            found = by_mass[name].sel(m=result.values["m"])
            np.testing.assert_array_equal(found, estimate.value)
    whole.to_netcdf(tmp_path / "both.nc", engine="netcdf4")
    for part in parts:
        part.close()
    again = read_dataset(tmp_path / "both.nc", "scan")
    np.testing.assert_array_equal(again["m"], [0.25, 0.5, 0.75, 1.0, 1.25])
    assert "changed by another program" in caplog.text


def test_the_exact_curve_is_apart_and_found_by_its_name(tmp_path):
    table(tmp_path / "a.nc", (0.25, 1.0))
    dataset = read_dataset(tmp_path / "a.nc", "scan")
    np.testing.assert_allclose(dataset["m_curve"], np.linspace(0.25, 1, 61), rtol=1e-15)
    ends = dataset["phi2_curve"][[0, -1]]
    np.testing.assert_array_equal(ends, dataset["phi2_exact"])
    with xarray.open_dataset(tmp_path / "a.nc", group="exact_curve") as apart:
        np.testing.assert_array_equal(apart.phi2_curve, dataset["phi2_curve"])
