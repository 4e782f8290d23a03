"""The fit of the gap: closed forms and repeated experiments."""

import json

import numpy as np
import pytest
from command_line import call
from helpers import free_draws

import observables
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.io.netcdf import read_dataset
from observables import Estimate
from observables.gap import fit_gap
from theories import FreeField, Phi4, TransferMatrix


@pytest.mark.parametrize("gap", [0.02, 0.3, 1.2])
@pytest.mark.parametrize("length", [8, 15])
def test_two_states_alone_have_their_gap(gap, length):
    r = np.arange(length // 2 + 1)
    c = 3 * np.cosh(gap * (length / 2 - r)) / np.cosh(gap * length / 2)
    distance = np.abs(r[:, None] - r)
    covariance = 1e-4 * np.sqrt(np.outer(c, c)) * 0.9**distance
    fit = fit_gap(c, covariance, length, 1000, True, lambda f: Estimate(float(f(c)[0]), 0.0))
    assert fit.gap.value == pytest.approx(gap, rel=1e-5)
    assert fit.chi2 < 1e-12 and fit.p_value > 0.999
    assert fit.window[1] == length // 2 and fit.dof == fit.window[1] - fit.window[0] - 1
    assert fit.window[0] * gap >= 1 - 1e-6 or fit.window[0] == length // 2 - 2


def test_the_fitted_gap_of_the_free_field_has_honest_errors():
    """100 experiments: the mean pull is within 0.4 but for one case in 10⁴, the width 0.75-1.3."""
    theory, rng = FreeField((16,)), np.random.default_rng(2)
    couplings = theory.from_values(mass_squared=0.25)
    exact = TransferMatrix(theory, couplings).energy_gap
    pulls, chi2 = [], []
    for _ in range(100):
        e = free_draws(theory, 0.25, 0.25, rng, 1024)
        fit = observables.correlator(theory, e.configurations, couplings=couplings).fit
        assert fit is not None
        pulls.append((fit.gap.value - exact) / fit.gap.stderr)
        chi2.append(fit.chi2 / fit.dof)
    assert abs(np.mean(pulls)) < 0.4
    assert 0.75 < np.std(pulls) < 1.3
    assert 0.8 < np.mean(chi2) < 1.4


def test_the_orbit_takes_the_noise_of_the_mean_away():
    """At α = 0 the mean is 0, and C(r) = ⟨φ̄φ̄⟩ has no error from its square."""
    theory = Phi4((8,))
    couplings = theory.from_values(m=0.6, alpha=0.0)
    phi = TransferMatrix(theory, couplings).sample(np.random.default_rng(3), 2000)
    phi[:1500] = np.abs(phi[:1500].mean(axis=1, keepdims=True)) + 0 * phi[:1500]
    averaged = observables.correlator(theory, phi, couplings=couplings)
    plain = observables.correlator(theory, phi)
    products = np.mean(phi * np.roll(phi, -4, axis=1))
    assert averaged.value[4] == pytest.approx(products, rel=1e-12)
    assert plain.value[4] < 0.9 * products


def test_covariance_is_that_of_repeated_experiments():
    theory, rng = FreeField((8,)), np.random.default_rng(4)
    couplings = theory.from_values(mass_squared=0.25)
    found = [
        observables.correlator(
            theory, free_draws(theory, 0.25, 0.25, rng, 300).configurations, couplings=couplings
        )
        for _ in range(150)
    ]
    expected = np.corrcoef([one.value for one in found], rowvar=False)
    one = found[0]
    rho = one.covariance / np.outer(one.stderr, one.stderr)
    np.testing.assert_allclose(np.diag(rho), 1, rtol=1e-9)
    np.testing.assert_allclose(rho, expected, atol=0.15)
    assert np.all(np.linalg.eigvalsh(rho) > 0)


def test_chains_too_noisy_for_a_gap_have_none():
    """Deep wells: Δ = 4e-6, Δ² of 300 draws is of either sign."""
    theory, rng = Phi4((16,)), np.random.default_rng(1)
    couplings = theory.from_values(m=1.0, alpha=0.0)
    phi = theory.exact(couplings).sample(rng, 300)
    fits = [
        observables.correlator(theory, phi, couplings=couplings, chains=chains).fit
        for chains in (None, 4)
    ]
    for fit in fits:
        assert fit is not None and fit.as_json()["stderr"] is None
        json.dumps(fit.as_json(), allow_nan=False)


def test_the_command_says_where_the_gap_is_biased(tmp_path):
    """Exact Δ .1087, and the fit is 8 errors too small: α makes a constant in C(r)."""
    theory, rng = Phi4((16,)), np.random.default_rng(5)
    for alpha, m, noted in ((0.03, 0.5, True), (0.0, 0.5, True), (0.0, -1.0, False)):
        couplings = theory.from_values(m=m, alpha=alpha)
        phi = theory.exact(couplings).sample(rng, 1000)
        path = tmp_path / f"{alpha}{m}.nc"
        Ensemble(theory, couplings, phi).save(path)
        done = call("correlator", path, "--json", "-o", tmp_path / "c.nc", "--overwrite")
        assert done.exit_code == 0 and ("decay lengths" in done.stderr) == noted
        assert json.loads(done.stdout)["gap_fit"]["reliable"] is not noted
        assert read_dataset(tmp_path / "c.nc", "correlator")["gap_fit_reliable"] != noted


def test_a_gap_that_noise_made_negative_has_no_length(tmp_path):
    theory = Phi4((4,))
    phi = np.random.default_rng(0).normal(size=(64, 4))
    ensemble = Ensemble(theory, theory.from_values(), phi)
    fit = ensemble.correlator().fit
    assert fit is not None and fit.gap.value < 0
    ensemble.save(tmp_path / "e.nc")
    assert "decay lengths" not in call("correlator", tmp_path / "e.nc").stderr


def test_command_gives_fit_and_covariance(tmp_path):
    theory = Phi4((8,))
    couplings = theory.from_values(m=0.3)
    phi = TransferMatrix(theory, couplings).sample(np.random.default_rng(5), 2000)
    Ensemble(theory, couplings, phi).save(tmp_path / "e.nc")
    done = call("correlator", tmp_path / "e.nc", "--json", "-o", tmp_path / "c.nc")
    assert done.exit_code == 0, done.stderr
    result, dataset = json.loads(done.stdout), read_dataset(tmp_path / "c.nc", "correlator")
    fit = result["gap_fit"]
    keys = {"value", "stderr", "chi2_per_dof", "dof", "window", "p_value", "interval_68"}
    assert keys <= set(fit)
    assert fit["value"] == dataset["gap_fit"] and fit["stderr"] == dataset["gap_fit_stderr"]
    assert fit["window"] == dataset["gap_fit_window"].tolist()
    np.testing.assert_array_equal(result["correlator_covariance"], dataset["correlator_covariance"])
    assert "chi²/dof" in call("correlator", tmp_path / "e.nc").stdout
    assert dataset["correlator_interval_95"].shape == (5, 2)
