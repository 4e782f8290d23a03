"""Ensembles in memory and on disk."""

import json

import numpy as np
import pytest
import xarray

import theories
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.results_file import save_measurement
from lattice_flows.io.netcdf import Variable, read_dataset, write_dataset
from theories.errors import LatticeFlowsError


def make(name="phi4", shape=(6,), n=300, weighted=True, **couplings):
    theory = theories.make(name, shape)
    rng = np.random.default_rng(0)
    return Ensemble(
        theory,
        theory.from_values(**couplings),
        rng.normal(size=(n, *shape)),
        rng.normal(0, 0.3, n) if weighted else None,
        {"sampler": "test", "seed": 3, "extras": [None, True]},
    )


@pytest.mark.parametrize(
    ("name", "shape", "weighted"),
    [("phi4", (6,), True), ("phi4", (3, 4), False), ("double-well", (8,), True)],
)
def test_an_ensemble_comes_back_bit_for_bit(tmp_path, name, shape, weighted):
    saved = make(name, shape, weighted=weighted)
    saved.save(tmp_path / "ensemble.nc")
    loaded = Ensemble.load(tmp_path / "ensemble.nc")
    assert loaded.theory == saved.theory
    assert loaded.couplings == saved.couplings
    assert loaded.provenance == saved.provenance
    assert loaded.configurations.tobytes() == saved.configurations.tobytes()
    if weighted:
        assert loaded.log_weights.tobytes() == saved.log_weights.tobytes()
    else:
        assert loaded.log_weights is None
    assert len(loaded) == 300
    assert loaded.measure() == saved.measure()


def test_xarray_knows_what_is_in_the_file(tmp_path):
    saved = make(shape=(3, 4), alpha=0.02)
    saved.save(tmp_path / "ensemble.nc")
    with xarray.open_dataset(tmp_path / "ensemble.nc") as dataset:
        assert dataset.configuration.dims == ("draw", "site_0", "site_1")
        assert dataset.log_weight.dims == ("draw",)
        np.testing.assert_array_equal(dataset.configuration, saved.configurations)
        assert (float(dataset.m), float(dataset.alpha)) == (0.5, 0.02)
        assert dataset.attrs["title"] == "configurations of phi4 on a lattice of 3 x 4 sites"
        assert dataset.attrs["references"] == saved.theory.references
        assert json.loads(dataset.attrs["lf_provenance"]) == saved.provenance


def test_a_measurement_is_stored_with_its_errors(tmp_path):
    ensemble = make()
    measured = ensemble.measure()
    save_measurement(tmp_path / "observables.nc", ensemble, measured)
    dataset = read_dataset(tmp_path / "observables.nc", "observables")
    for name, estimate in {**measured.observables, "log_z": measured.log_z}.items():
        assert (dataset[name], dataset[f"{name}_stderr"]) == estimate
        assert dataset.variables[name].attributes["ancillary_variables"] == f"{name}_stderr"
    assert dataset["ess"] == measured.ess
    assert dataset["reliable"] == measured.reliable
    assert dataset["lam"] == 1 / 16
    assert dataset.json("lf_config")["draws"] == 300

    chain = make(weighted=False)
    save_measurement(tmp_path / "observables.nc", chain, chain.measure())
    assert "log_z" not in read_dataset(tmp_path / "observables.nc")


def test_single_precision_is_taken_up_exactly():
    theory = theories.make("phi4", (4,))
    phi = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    ensemble = Ensemble(theory, theory.from_values(), phi)
    assert ensemble.configurations.dtype == np.float64
    np.testing.assert_array_equal(ensemble.configurations, phi)


@pytest.mark.parametrize(
    ("configurations", "log_weights", "message"),
    [
        (np.zeros((5, 3)), None, "do not fit the lattice"),
        (np.zeros((0, 4)), None, "do not fit the lattice"),
        (np.full((5, 4), np.inf), None, "not finite"),
        (np.zeros((5, 4)), np.zeros(4), "one for each of 5"),
        (np.zeros((5, 4)), np.full(5, np.nan), "5 of 5 log-weights"),
    ],
)
def test_what_is_no_ensemble_is_refused(configurations, log_weights, message):
    theory = theories.make("phi4", (4,))
    with pytest.raises(LatticeFlowsError, match=rf"^[^\n]*{message}[^\n]*$"):
        Ensemble(theory, theory.from_values(), configurations, log_weights)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "does not say which theory"),
        ({"theory": "phi4", "shape": 4, "couplings": {}}, "does not say which theory"),
        ({"theory": "string", "shape": [4], "couplings": {}}, "no theory 'string'"),
        ({"theory": "phi4", "shape": [4], "couplings": {"g": 1}}, "no coupling g"),
        ({"theory": "phi4", "shape": [4], "couplings": {"lam": -1}}, "lam must be greater"),
        ({"theory": "phi4", "shape": [4], "couplings": {}}, "does not say what m is"),
        (
            {"theory": "phi4", "shape": [5], "couplings": {"m": 1, "lam": 1, "alpha": 0}},
            "do not fit the lattice",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, config, message):
    stored = {"configuration": Variable(("draw", "site"), np.zeros((3, 4)), "phi")}
    extra = {"lf_provenance": {}}
    write_dataset(tmp_path / "a.nc", "ensemble", stored, title="", config=config, attributes=extra)
    with pytest.raises(LatticeFlowsError, match=rf"^[^\n]*{message}[^\n]*$"):
        Ensemble.load(tmp_path / "a.nc")


def test_a_file_of_another_kind_is_refused(tmp_path):
    ensemble = make()
    save_measurement(tmp_path / "observables.nc", ensemble, ensemble.measure())
    with pytest.raises(LatticeFlowsError, match="holds 'observables', but ensemble is needed"):
        Ensemble.load(tmp_path / "observables.nc")
