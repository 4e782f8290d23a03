"""Autocorrelations and R̂ against closed forms, other people's programs and repeated experiments."""

import dataclasses
import json
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from blackjax.diagnostics import potential_scale_reduction
from command_line import call
from helpers import Independent, Shift
from scipy.signal import lfilter

from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.results_file import save_measurement
from observables import measure
from observables.chains import autocorrelation, chain_series, measure_chains, split_r_hat
from observables.estimate import plain
from observables.magnetization import binder_cumulant, susceptibility
from theories import Phi4
from theories.errors import LatticeFlowsError


@pytest.fixture(scope="module")
def pyerrors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it loads parts of scipy that are going away
        import pyerrors
    return pyerrors


def autoregression(rng, a, shape):
    """x_t = a x_{t-1} + √(1-a²) noise along the second axis, stationary from the first draw on.

    N(0, 1), with Γ(t) = a^t and so τ_int = ½ (1+a)/(1-a).
    """
    noise = rng.normal(size=shape) * np.sqrt(1 - a**2)
    noise[:, 0] /= np.sqrt(1 - a**2)
    return lfilter([1], [1, -a], noise, axis=1)


def test_the_autocorrelation_time_of_an_autoregression():
    """With other seeds this would fail once in some thousand times (8 comparisons at 4σ)."""
    rng = np.random.default_rng(1)
    for a in (0.0, 0.4, 0.8, 0.95):
        exact = 0.5 * (1 + a) / (1 - a)
        for chains in (1, 16):
            found = autocorrelation(autoregression(rng, a, (chains, 160_000 // chains)) + 7)
            assert abs(found.tau - exact) < 4 * found.tau_stderr, (a, chains)
            assert found.tau_stderr < 0.1 * exact
            assert found.stderr == pytest.approx(np.sqrt(2 * exact / 160_000), rel=0.1)


def test_the_same_as_pyerrors(pyerrors):
    series = autoregression(np.random.default_rng(2), 0.7, (3, 1500))
    series += 2 - series.mean(axis=1, keepdims=True)  # pyerrors subtracts every chain's own mean
    theirs = pyerrors.Obs(list(series), ["e|1", "e|2", "e|3"])
    theirs.gamma_method()
    ours = autocorrelation(series)
    assert ours.window == theirs.e_windowsize["e"]
    assert ours.stderr == pytest.approx(theirs.dvalue, rel=1e-9)
    assert ours.tau == pytest.approx(theirs.e_tauint["e"], rel=3e-3)
    assert ours.tau_stderr == pytest.approx(theirs.e_dtauint["e"], rel=1e-2)  # of τ uncorrected


def test_functions_of_averages_are_the_same_as_with_pyerrors(pyerrors):
    x = autoregression(np.random.default_rng(3), 0.6, (1, 4000))[0] + 0.5
    m1, m2, m4 = (pyerrors.Obs([x**power], ["e"]) for power in (1, 2, 4))
    theirs = [16 * (m2 - m1 * m1), 1 - m4 / (3 * m2 * m2)]
    for one in theirs:
        one.gamma_method()

    def function(averages):
        m1, m2, m4 = np.moveaxis(averages, -1, 0)
        return np.stack([susceptibility(m2, m1, 16), binder_cumulant(m4, m2)], axis=-1)

    samples = np.stack([x, x**2, x**4], axis=1)
    for i, (name, one) in enumerate(zip(("chi", "binder"), theirs, strict=True)):
        (ours,), mixing = measure_chains(
            lambda a, i=i: function(a)[..., i : i + 1], samples, 1, [name]
        )
        np.testing.assert_allclose(ours.stderr, one.dvalue, rtol=1e-3)
        assert mixing.tau_int == pytest.approx(one.e_tauint["e"], rel=5e-3)
    # together they are cut at the window of the slower one
    found, mixing = measure_chains(function, samples, 1, ["chi", "binder"])
    taus = [one.e_tauint["e"] for one in theirs]
    assert mixing.tau_int == pytest.approx(max(taus), rel=5e-3)
    assert mixing.slowest == ("chi", "binder")[np.argmax(taus)]
    plain, _ = chain_series(function, samples, 1)  # they do not correct for a bias of O(1/n)
    np.testing.assert_allclose(plain, [one.value for one in theirs], rtol=1e-10)
    slowest = np.argmax(taus)
    np.testing.assert_allclose(found[slowest].stderr, theirs[slowest].dvalue, rtol=1e-3)


def test_draws_that_alternate_are_given_no_negative_variance():
    series = autoregression(np.random.default_rng(4), -0.9, (4, 500))
    assert autocorrelation(series).stderr == pytest.approx(1 / np.sqrt(2000), rel=0.1)


@pytest.mark.usefixtures("unchecked")
def test_error_bars_of_chains_cover_the_truth():
    """68 % of 500 repetitions within one standard error, for every observable.

    The sites are autoregressions with τ_int = 2. With other seeds one of the nine observables would
    be out of the interval in 4 % of the cases, if exactly 68 % are covered.
    """
    theory, couplings, rng = Independent((3,)), Shift(), np.random.default_rng(5)
    exact = theory.exact(couplings)
    hits = {name: [] for name in exact if name != "log_z"}
    for _ in range(500):
        x = autoregression(rng, 0.6, (4, 500, 3)).reshape(-1, 3) + couplings.shift
        measured = measure(theory, couplings, x, chains=4, orbit=False).observables
        for name, (value, stderr) in measured.items():
            hits[name].append(abs(value - exact[name]) < stderr)
    covered = {name: np.mean(hit) for name, hit in hits.items()}
    assert all(0.62 <= share <= 0.74 for share in covered.values()), covered


# R̂


def test_r_hat_is_the_potential_scale_reduction_of_the_halves():
    series = autoregression(np.random.default_rng(6), 0.9, (5, 201))
    halves = np.concatenate([series[:, :100], series[:, 101:]])
    expected = float(potential_scale_reduction(jnp.asarray(halves)))
    assert expected > 1.02
    assert split_r_hat(series) == pytest.approx(expected, rel=1e-12)


def test_r_hat_sees_a_chain_elsewhere_and_a_drift_of_all():
    series = np.random.default_rng(7).normal(size=(8, 1000))
    assert split_r_hat(series) < 1.002
    elsewhere = series.copy()
    elsewhere[3] += 1
    assert split_r_hat(elsewhere) > 1.03
    assert split_r_hat(series + np.linspace(0, 1, 1000)) > 1.03


def test_r_hat_of_what_does_not_move():
    assert split_r_hat(np.ones((4, 100))) == 1
    assert split_r_hat(np.ones((4, 100)) * np.arange(4)[:, None]) == np.inf
    assert split_r_hat(np.zeros((4, 3))) == np.inf


# ensembles


def chain_ensemble(a=0.5, chains=8, n=500, **couplings):
    theory = Phi4((3,))
    phi = autoregression(np.random.default_rng(8), a, (chains, n, 3)).reshape(-1, 3)
    return Ensemble(theory, theory.from_values(**couplings), phi, chains=chains)


def test_measure_says_how_the_chains_mix():
    measured = chain_ensemble().measure()
    assert measured.reliable
    mixing = measured.mixing  # of phi2: even observables have Γ(t) = a^{2t}
    assert abs(mixing.tau_int - 5 / 6) < 4 * mixing.tau_int_stderr
    report = json.loads(json.dumps(measured.as_json(), allow_nan=False))
    assert report["tau_int"] == mixing.tau_int
    assert report["slowest"] in measured.observables
    assert 1 < report["r_hat"] < 1.01
    assert 0.01 <= report["agreement"] <= 1 and report["frozen_chains"] == 0


def test_too_few_draws_for_their_autocorrelation_time_are_not_reliable():
    few = chain_ensemble(0.8, 64, 20)
    measured = few.measure()
    assert len(few) > 1000 and not measured.reliable
    independent = dataclasses.replace(few, chains=None).measure()
    assert independent.reliable and independent.mixing is None
    errors = [one.observables["phi2"].stderr for one in (measured, independent)]
    assert errors[0] > 1.15 * errors[1]


def test_chains_that_disagree_or_stand_still_are_not_reliable():
    ensemble = chain_ensemble()
    phi = ensemble.configurations.copy()
    phi[:500] *= 1.5
    elsewhere = dataclasses.replace(ensemble, configurations=phi).measure()
    assert not elsewhere.reliable and elsewhere.mixing.r_hat > 1.01

    still = np.broadcast_to(phi[:1], phi.shape)
    for chains in (1, 8):
        one = dataclasses.replace(ensemble, configurations=still, chains=chains).measure()
        assert not one.reliable
        assert plain(one.details)["tau_int"] is None
    still = np.repeat(phi[::500], 500, axis=0)
    one = dataclasses.replace(ensemble, configurations=still).measure()
    assert not one.reliable and plain(one.details)["r_hat"] is None


def test_what_symmetry_fixes_has_no_error_and_does_not_count():
    measured = chain_ensemble(alpha=0.0).measure()
    assert measured.observables["magnetization"] == (0, 0)
    assert measured.observables["positive_mode_weight"].stderr == 0
    assert measured.reliable


def test_chains_come_back_from_the_file(tmp_path):
    saved = chain_ensemble()
    saved.save(tmp_path / "chains.nc")
    loaded = Ensemble.load(tmp_path / "chains.nc")
    assert loaded.chains == 8
    assert loaded.measure() == saved.measure()
    with xarray.open_dataset(tmp_path / "chains.nc") as dataset:
        assert dataset.configuration.dims == ("chain", "draw", "site")
        assert dataset.sizes == {"chain": 8, "draw": 500, "site": 3}
    measured = saved.measure()
    save_measurement(tmp_path / "observables.nc", saved, measured)
    with xarray.open_dataset(tmp_path / "observables.nc") as dataset:
        assert float(dataset.tau_int) == measured.mixing.tau_int
        assert float(dataset.tau_int_stderr) == measured.mixing.tau_int_stderr
        assert measured.mixing.slowest in dataset.tau_int.attrs["long_name"]
        assert float(dataset.r_hat) == measured.mixing.r_hat
        assert "1903.08008" in dataset.r_hat.attrs["long_name"]
        assert float(dataset.agreement) == measured.mixing.agreement
        assert int(dataset.frozen_chains) == 0


def test_the_command_measures_chains(tmp_path):
    chain_ensemble().save(tmp_path / "chains.nc")
    result = call("measure", tmp_path / "chains.nc")
    assert result.exit_code == 0
    assert "tau_int" in result.stdout and "r_hat" in result.stdout
    chain_ensemble(0.8, 64, 20).save(tmp_path / "few.nc")
    result = call("measure", tmp_path / "few.nc")
    assert result.exit_code == 3
    assert "1280 draws with an autocorrelation time of" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("chains", "weights", "message"),
    [
        (3, None, "4000 draws are not from 3 chains"),
        (0, None, "not from 0 chains"),
        (2.5, None, "not from 2.5 chains"),
        ("two", None, "not from two chains"),
        (8, np.zeros(4000), "no weights"),
    ],
)
def test_what_are_no_chains_is_refused(chains, weights, message):
    ensemble = chain_ensemble()
    expected = pytest.raises(LatticeFlowsError, match=rf"^[^\n]*{message}[^\n]*$")
    with expected:
        dataclasses.replace(ensemble, chains=chains, log_weights=weights)
    with expected:
        measure(
            ensemble.theory, ensemble.couplings, ensemble.configurations, weights, chains=chains
        )
