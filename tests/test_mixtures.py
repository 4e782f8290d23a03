"""Gaussian mixtures against densities written out with scipy, quadrature, and their own draws.

Statistical tests have a fixed seed; 5 standard errors fail by chance once in 10⁶ times.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.stats import kstest, multivariate_normal, norm

import theories
from lattice_flows.io.netcdf import read_dataset
from observables import measure, quantities
from theories import (
    FortyGaussians,
    FourGaussians,
    GaussianMixture,
    LatticeFlowsError,
    SixGaussians,
    TwoGaussians,
)

NAMES = ("gmm-4", "gmm-2", "gmm-6", "gmm-40")


class Overlapping(GaussianMixture):
    """Three Gaussians that run into one another, of deviation 0.7."""

    name = "overlapping"
    means = np.array([(0.0, 0.0), (1.5, 0.5), (-1.0, 2.0)])
    weights = np.array([0.2, 0.5, 0.3])
    deviation = 0.7


def density(theory: GaussianMixture, x: np.ndarray) -> np.ndarray:
    return sum(
        w * multivariate_normal(mean, covariance).pdf(x)
        for w, mean, covariance in zip(
            theory.weights, theory.means, theory.covariances, strict=True
        )
    )


@pytest.mark.parametrize(
    "theory", [FourGaussians(), TwoGaussians(), SixGaussians(), FortyGaussians(), Overlapping()]
)
def test_the_action_is_minus_beta_log_density(theory, rng):
    points = rng.choice(theory.means, 3) + rng.normal(0, 1.5, (3, 2))
    actions = [theory.action(jnp.asarray(x), theory.from_values(beta=0.7)) for x in points]
    np.testing.assert_allclose(actions, -0.7 * np.log(density(theory, points)), rtol=1e-12)


def test_the_targets_are_those_of_the_papers():
    np.testing.assert_allclose(
        density(FourGaussians(), np.array([8.0, -7.0])), 0.25 * norm.pdf(0) * norm.pdf(1)
    )
    np.testing.assert_allclose(
        density(TwoGaussians(), np.array([4.0, 4.0])), norm.pdf(0) ** 2 / 3, rtol=1e-12
    )
    np.testing.assert_allclose(
        density(TwoGaussians(), np.array([-8.0, -8.0])), norm.pdf(0) ** 2 * 2 / 3, rtol=1e-12
    )


def test_the_forty_means_are_those_of_the_file():
    file = read_dataset(Path(__file__).parents[1] / "data" / "gmm40_means.nc", "mixture")
    theory = FortyGaussians()
    assert file["mean"].tobytes() == theory.means.tobytes()
    assert file["weight"].tobytes() == theory.weights.tobytes()
    assert float(file["deviation"]) == theory.deviation
    assert theory.means.shape == (40, 2) and np.abs(theory.means).max() <= 40


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_normalised_and_fit_the_means(name):
    theory = theories.make(name)
    assert theory == theories.make(name, (2,)) and theory.shape == (2,)
    assert theory.means.shape == (*theory.weights.shape, 2) == (len(theory.mode_names), 2)
    np.testing.assert_allclose(theory.weights.sum(), 1, rtol=1e-14)


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1,)])
def test_another_shape_is_refused(shape):
    with pytest.raises(LatticeFlowsError, match=r"2 components, not `shape=\(.*\)`: leave it out"):
        theories.make("gmm-2", shape)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_beta_must_be_positive(beta):
    theory = TwoGaussians()
    with pytest.raises(LatticeFlowsError, match="beta must be"):
        theory.validate(theory.from_values(beta=beta))


def test_exact_answers_are_for_one_beta():
    theory = TwoGaussians()
    with pytest.raises((LatticeFlowsError, TypeError)):
        theory.exact(theory.from_values(beta=np.array([1.0, 1.0])))


# -- exact answers ----------------------------------------------------------------------------


def test_at_beta_one_everything_is_known():
    answers = TwoGaussians().exact(TwoGaussians().from_values()).observables()
    assert answers == pytest.approx(
        {"mean": -4, "second_moment": 1 + 16 / 3 + 128 / 3, "mode_1": 1 / 3, "mode_2": 2 / 3}
        | {"log_z": 0},
        rel=1e-14,
    )


@pytest.mark.parametrize("name", NAMES)
def test_exact_answers_are_of_what_is_measured(name):
    theory = theories.make(name)
    answers = theory.exact(theory.from_values()).observables()
    assert list(answers) == list(quantities(theory).long_names)


@pytest.mark.parametrize(
    "theory", [TwoGaussians(), SixGaussians(), FortyGaussians(), Overlapping()]
)
def test_sums_over_the_grid_agree_with_closed_forms(theory):
    at_one = theory.exact(theory.from_values())
    log_z, mean, second, shares = at_one._quadrature()
    found = {"mean": mean, "second_moment": second, "log_z": log_z}
    found |= dict(zip(theory.mode_names, shares, strict=True))
    assert found == pytest.approx(at_one.observables(), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_other_betas_agree_with_adaptive_quadrature(beta):
    theory = Overlapping()
    answers = theory.exact(theory.from_values(beta=beta)).observables()
    reach = 12 / np.sqrt(beta)

    def integral(function):
        """By dblquad of products of scalars: fast enough, and not ours."""
        gauss = list(zip(theory.weights, theory.means, strict=True))
        variance = theory.deviation**2

        def integrand(y, x):
            terms = [
                w * np.exp(-((x - m[0]) ** 2 + (y - m[1]) ** 2) / 2 / variance) for w, m in gauss
            ]
            p = sum(terms) / (2 * np.pi * variance)
            return p**beta * function(x, y, terms) if p > 0 else 0.0

        return dblquad(integrand, -reach, reach, -reach, reach, epsabs=1e-9, epsrel=1e-7)[0]

    z = integral(lambda x, y, terms: 1.0)
    assert answers["log_z"] == pytest.approx(np.log(z), abs=1e-6)
    first = integral(lambda x, y, terms: terms[0] / sum(terms)) / z
    assert answers["mode_1"] == pytest.approx(first, abs=1e-6)
    second = integral(lambda x, y, terms: (x * x + y * y) / 2) / z
    assert answers["second_moment"] == pytest.approx(second, rel=1e-6)


def test_far_from_one_no_exact_answer_is_known():
    theory = TwoGaussians()
    assert theory.exact(theory.from_values(beta=0.01)) is None
    assert theory.exact(theory.from_values(beta=100.0)) is None


# -- exact draws ------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0, 5.0])
@pytest.mark.parametrize(
    "theory", [TwoGaussians(), SixGaussians(), FortyGaussians(), Overlapping()]
)
def test_exact_draws_have_the_exact_moments(theory, beta, rng):
    couplings = theory.from_values(beta=beta)
    exact = theory.exact(couplings)
    draws = exact.sample(rng, 4000)
    assert draws.shape == (4000, 2) and draws.dtype == np.float64
    measured = measure(theory, couplings, draws).observables
    answers = exact.observables()
    for name, estimate in measured.items():
        assert abs(estimate.value - answers[name]) < 5 * estimate.stderr + 1e-9, name


@pytest.mark.parametrize("beta", [0.4, 1.0, 2.5])
def test_exact_draws_have_the_exact_marginal(beta, rng):
    """Kolmogorov-Smirnov at a false-alarm rate of 10⁻⁴."""
    theory = Overlapping()
    draws = theory.exact(theory.from_values(beta=beta)).sample(rng, 4000)[:, 0]
    grid = np.linspace(-14, 14, 561)
    values = density(theory, np.stack(np.meshgrid(grid, grid, indexing="ij"), -1)) ** beta
    cumulative = np.cumsum(values.sum(axis=1))

    def cdf(x):
        return np.interp(x, grid + 0.025, cumulative / cumulative[-1])

    assert kstest(draws, cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_responsibilities_are_shares_that_average_to_the_weights(name, rng):
    theory = theories.make(name)
    draws = theory.exact(theory.from_values()).sample(rng, 4000)
    shares = theory.modes(draws)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    error = shares.std(axis=0) / np.sqrt(4000)
    assert np.all(np.abs(shares.mean(axis=0) - theory.weights) < 5 * error)


def test_the_score_is_that_of_the_responsibilities(rng):
    theory = Overlapping()
    x = rng.normal(size=(5, 2))
    expected = np.einsum("nk,nkd->nd", theory.modes(x), x[:, None] - theory.means) / 0.49
    found = jax.vmap(jax.grad(lambda x: theory.action(x, theory.from_values())))(jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-11)
