"""Files of ensembles as xarray users expect them, and what is missing in them is refused."""

import json
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray

import theories
from lattice_flows.ensembles import rows
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.figures.plots import plot_file
from lattice_flows.io.netcdf import StoredArray
from observables import kish_ess
from theories.errors import LatticeFlowsError

DATA = Path(__file__).parent / "data"

pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


def make(kind="flow", n=240, shape=(4,), name="phi4", **couplings):
    theory, rng = theories.make(name, shape), np.random.default_rng(3)
    return Ensemble(
        theory,
        theory.from_values(**couplings),
        rng.normal(size=(n, *shape)),
        rng.normal(0, 0.3, n) if kind == "flow" else None,
        {"sampler": "test"},
        chains=6 if kind == "chains" else None,
    )


def sliced(change, kind="flow", name="sliced.nc") -> str:
    """A file that xarray has read, changed and written again."""
    make(kind).save("whole.nc")
    with xarray.open_dataset("whole.nc") as dataset:
        change(dataset).to_netcdf(name)
    return name


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_chains_draws_and_couplings_are_coordinates(shape):
    sites = ("site",) if len(shape) == 1 else ("site_0", "site_1")
    flow, chains = make("flow", shape=shape, alpha=0.02), make("chains", shape=shape)
    flow.save("flow.nc")
    chains.save("chains.nc")
    with xarray.open_dataset("flow.nc") as dataset:
        assert dataset.configuration.dims == ("draw", *sites)
        assert dataset.log_weight.dims == ("draw",)
        assert set(dataset.coords) == {"draw", "m", "lam", "alpha"}
        assert set(dataset.data_vars) == {"configuration", "log_weight"}
        assert float(dataset.log_weight.alpha) == 0.02
        np.testing.assert_array_equal(dataset.draw, np.arange(240))
    with xarray.open_dataset("chains.nc") as dataset:
        assert dataset.configuration.dims == ("chain", "draw", *sites)
        assert set(dataset.coords) == {"chain", "draw", "m", "lam", "alpha"}
        assert set(dataset.data_vars) == {"configuration"}
        np.testing.assert_array_equal(
            dataset.configuration, chains.configurations.reshape(6, 40, *shape)
        )
        assert not any("chains" in name for name in dataset.attrs)


@pytest.mark.parametrize("kind", ["flow", "chains", "exact"])
def test_a_slice_of_the_draws_is_an_ensemble(kind):
    whole = make(kind)
    part = Ensemble.load(sliced(lambda d: d.isel(draw=slice(5, 25)), kind))
    rows = whole.configurations.reshape(whole.chains or 1, -1, 4)[:, 5:25].reshape(-1, 4)
    np.testing.assert_array_equal(part.configurations, rows)
    assert (part.kind, part.chains) == (kind, whole.chains)
    if kind == "flow":
        assert part.ess == kish_ess(whole.log_weights[5:25])


def test_a_slice_of_the_chains_is_an_ensemble():
    whole = make("chains").configurations.reshape(6, 40, 4)
    two = Ensemble.load(sliced(lambda d: d.isel(chain=[1, 4]), "chains"))
    assert two.chains == 2
    np.testing.assert_array_equal(two.configurations, whole[[1, 4]].reshape(-1, 4))
    one = Ensemble.load(sliced(lambda d: d.isel(chain=3), "chains", "one.nc"))
    assert one.chains == 1
    np.testing.assert_array_equal(one.configurations, whole[3])


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("flow", lambda d: d.drop_vars("log_weight"), "not their log_weight"),
        ("flow", lambda d: d.isel(site=slice(3)), "sliced.nc has .* do not fit the lattice"),
        ("flow", lambda d: d.isel(draw=3), "configurations along site, not along"),
        ("flow", lambda d: d.transpose(), "configurations along site, draw, not along"),
        ("flow", lambda d: d.assign_coords(m=0.9), "says that m is 0.5, and something else"),
        ("flow", lambda d: d.drop_vars("configuration"), "no variable 'configuration'"),
        ("chains", lambda d: d.isel(draw=3), "along chain, site, not along"),
        ("chains", lambda d: d.isel(chain=0).drop_vars("chain"), "no dimension chain"),
        (
            "chains",
            lambda d: d.assign(log_weight=("draw", np.zeros(40))),
            "weights for draws that have none",
        ),
        ("exact", lambda d: d.assign_attrs(lf_ensemble="other"), "unknown kind 'other'"),
        ("exact", lambda d: d.assign_attrs(lf_ensemble=np.arange(2)), "unknown kind array"),
    ],
)
def test_what_a_change_has_lost_is_refused(kind, change, message):
    with pytest.raises(LatticeFlowsError, match=rf"^[^\n]*{message}[^\n]*$"):
        Ensemble.load(sliced(change, kind))


@pytest.mark.parametrize("name", ["m", "lam", "alpha"])
def test_missing_couplings_are_not_taken_for_defaults(name):
    make().save("whole.nc")
    with netCDF4.Dataset("whole.nc", "a") as file:
        config = json.loads(file.lf_config)
        del config["couplings"][name]
        file.lf_config = json.dumps(config)
    with pytest.raises(LatticeFlowsError, match=rf"does not say what {name} is"):
        Ensemble.load("whole.nc")


# files of format version 1


def test_older_files_of_a_flow_are_read():
    with xarray.open_dataset(DATA / "ensemble_flow_v1.nc") as dataset:
        stored = dataset.load()
    assert stored.attrs["lf_format_version"] == 1
    ensemble = Ensemble.load(DATA / "ensemble_flow_v1.nc")
    assert (ensemble.kind, len(ensemble)) == ("flow", 64)
    np.testing.assert_array_equal(ensemble.configurations, stored.configuration)
    np.testing.assert_array_equal(ensemble.log_weights, stored.log_weight)
    stored.drop_vars("log_weight").to_netcdf("no_weights.nc")
    with pytest.raises(LatticeFlowsError, match="not their log_weight"):
        Ensemble.load("no_weights.nc")


def test_older_files_of_chains_are_read_but_not_their_slices():
    """They hold (draw, site), chain by chain, and the number of chains beside them."""
    with xarray.open_dataset(DATA / "ensemble_chains_v1.nc") as dataset:
        stored = dataset.load()
    ensemble = Ensemble.load(DATA / "ensemble_chains_v1.nc")
    assert (ensemble.kind, ensemble.chains, len(ensemble)) == ("chains", 4, 64)
    np.testing.assert_array_equal(ensemble.configurations, stored.configuration)
    stored.isel(draw=slice(0, 32)).to_netcdf("sliced.nc")  # of two chains, not of four
    with pytest.raises(LatticeFlowsError, match="does not tell apart"):
        Ensemble.load("sliced.nc")
    ensemble.save("again.nc")
    again = Ensemble.load("again.nc")
    assert again.measure() == ensemble.measure() and again.chains == 4


def test_large_ensembles_stay_on_disk(monkeypatch):
    monkeypatch.setattr("lattice_flows.ensembles.ensemble._IN_MEMORY", 0)
    for kind in ("flow", "chains", "exact"):
        whole = make(kind)
        whole.save("whole.nc")
        loaded = Ensemble.load("whole.nc")
        assert not isinstance(loaded.configurations, np.ndarray)
        np.testing.assert_array_equal(loaded.configurations, whole.configurations)
        assert loaded.measure() == whole.measure()
        loaded.save("again.nc")
        assert Ensemble.load("again.nc").measure() == whole.measure()
        if kind == "flow":
            slopes = loaded.derivatives(["m"])
            assert slopes == whole.derivatives(["m"])


@pytest.mark.parametrize("kind", ["flow", "chains"])
def test_figures_of_large_ensembles_leave_them_on_disk(kind, monkeypatch):
    """Whatever is read of the configurations at once is less than all of them."""
    make(kind).save("whole.nc")
    monkeypatch.setattr("lattice_flows.ensembles.ensemble._IN_MEMORY", 0)
    monkeypatch.setattr(rows.slices, "__defaults__", (64,))
    read, plainly = [], StoredArray.__getitem__

    def noted(self, index):
        found = plainly(self, index)
        if found.ndim > 1:
            read.append(found.size)
        return found

    monkeypatch.setattr(StoredArray, "__getitem__", noted)
    plot_file("whole.nc")
    assert 0 < max(read) < 240 * 4 / 2


def test_numbers_that_no_axis_shows_are_not_drawn():
    large = make("exact")
    large.configurations[7] = 1e200
    large.save("large.nc")
    with pytest.raises(LatticeFlowsError, match=r"large\.nc is damaged.*configuration"):
        plot_file("large.nc")
