"""The many-well target against published and adaptive integrals, and its own draws.

Statistical tests have a fixed seed; 5 standard errors fail by chance once in 10⁶ times.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest, norm

import theories
from observables import measure, quantities
from theories import LatticeFlowsError, ManyWell, ManyWellCouplings

CASES = [ManyWellCouplings(), ManyWellCouplings(2.0, -1.0), ManyWellCouplings(-1.0, 0.0),
         ManyWellCouplings(20.0, 0.1), ManyWellCouplings(1.0, 30.0)]  # fmt: skip


def integral(function, couplings, low=-8.0, high=8.0):
    """∫ function(x) e^{-(x⁴ - a x² - h x)} dx."""
    a, h = couplings
    shift = a * a / 4 + abs(h) * 3  # keeps the exponential in range

    def integrand(x):
        return function(x) * np.exp(-(x**4) + a * x**2 + h * x - shift)

    points = [-3.2, -1.75, 1.75, 3.2]
    inside = [x for x in points if low < x < high]
    found = quad(integrand, low, high, epsabs=1e-13, epsrel=1e-11, limit=500, points=inside)[0]
    return found * np.exp(shift)


def test_the_action_is_a_sum_over_pairs(rng):
    x = rng.normal(size=6)
    pairs = x.reshape(3, 2)
    expected = sum(p**4 - 6 * p**2 - p / 2 + q**2 / 2 for p, q in pairs)
    theory = ManyWell((6,))
    np.testing.assert_allclose(theory.action(jnp.asarray(x), theory.from_values()), expected)


def test_the_partition_function_is_the_published_one():
    """Midgley et al., arXiv:2208.01893: Z of a pair is 11784.50927 √(2π)."""
    theory = ManyWell((32,))
    exact = theory.exact(theory.from_values())
    assert exact.log_z / 16 == pytest.approx(np.log(11784.50927 * np.sqrt(2 * np.pi)), rel=1e-10)


@pytest.mark.parametrize("couplings", CASES)
def test_exact_answers_agree_with_adaptive_quadrature(couplings):
    theory = ManyWell((4,))
    answers = theory.exact(couplings).observables()
    z = integral(lambda x: 1.0, couplings)
    assert list(answers) == list(quantities(theory).long_names)
    assert answers["log_z"] == pytest.approx(2 * np.log(z * np.sqrt(2 * np.pi)), rel=1e-10)
    mean = integral(lambda x: x, couplings) / z
    assert answers["mean"] == pytest.approx(mean / 2, rel=1e-9, abs=1e-12)
    second = integral(lambda x: x * x, couplings) / z
    assert answers["second_moment"] == pytest.approx((second + 1) / 2, rel=1e-9)
    positive = integral(lambda x: 1.0, couplings, low=0.0) / z
    assert answers["positive_well"] == pytest.approx(positive, rel=1e-9)


@pytest.mark.parametrize("couplings", CASES)
def test_exact_draws_have_the_exact_density(couplings, rng):
    """Kolmogorov-Smirnov of both kinds of components, at a false-alarm rate of 10⁻⁴ each."""
    theory = ManyWell((6,))
    exact = theory.exact(couplings)
    draws = exact.sample(rng, 1500)
    assert draws.shape == (1500, 6)
    assert kstest(draws[:, 1::2].ravel(), norm.cdf).pvalue > 1e-4
    grid = np.linspace(-6, 6, 4801)
    a, h = couplings
    exponent = -(grid**4) + a * grid**2 + h * grid
    cumulative = np.cumsum(np.exp(exponent - exponent.max()))

    def cdf(x):
        return np.interp(x, grid + (grid[1] - grid[0]) / 2, cumulative / cumulative[-1])

    assert kstest(draws[:, 0::2].ravel(), cdf).pvalue > 1e-4
    answers = exact.observables()
    for name, estimate in measure(theory, couplings, draws).observables.items():
        assert abs(estimate.value - answers[name]) < 5 * estimate.stderr + 1e-12, name


def test_many_draws_are_made_in_parts(rng):
    theory = ManyWell((8,))
    draws = theory.exact(theory.from_values()).sample(rng, 4000)
    positive = (draws[:, 0::2] > 0).mean()
    exact = theory.exact(theory.from_values()).observables()["positive_well"]
    assert abs(positive - exact) < 5 * np.sqrt(exact * (1 - exact) / 16000)


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1,), ()])
def test_an_odd_number_of_components_is_refused(shape):
    with pytest.raises(LatticeFlowsError, match="many-well") as caught:
        theories.make("many-well", shape)
    assert "\n" not in str(caught.value)


def test_the_tilt_is_a_spurion(rng):
    theory, x = ManyWell((4,)), jnp.asarray(rng.normal(size=4))
    couplings = theory.from_values(tilt=0.3)
    np.testing.assert_allclose(
        theory.action(-x, theory.flip(couplings)), theory.action(x, couplings)
    )
    assert theory.is_symmetric(theory.from_values(tilt=0.0))
    assert not theory.is_symmetric(couplings)


def test_the_mode_weight_counts_pairs():
    x = np.array([[1.0, -5, -1, 5], [0.0, 1, 2, -1]])
    np.testing.assert_array_equal(ManyWell((4,)).modes(x), [[0.5], [0.75]])


@pytest.mark.parametrize(
    ("couplings", "count"), [(CASES[0], 4), (CASES[1], 4), (CASES[2], 1), (CASES[4], 1)]
)
def test_centres_of_the_modes_are_minima(couplings, count):
    theory = ManyWell((4,))
    centres = theory.mode_centres(couplings)
    assert centres.shape == (count, 4) and len(np.unique(centres, axis=0)) == count
    for centre in jnp.asarray(centres):
        gradient = jax.grad(theory.action)(centre, couplings)
        np.testing.assert_allclose(gradient, 0, atol=1e-6)
        curvatures = jnp.linalg.eigvalsh(jax.hessian(theory.action)(centre, couplings))
        assert np.all(np.asarray(curvatures) > 0)


def test_too_many_modes_are_not_listed():
    assert ManyWell((40,)).mode_centres(ManyWellCouplings()) is None
