"""The teleportation example against quadrature on a grid, and against its own equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import cumulative_trapezoid

from theories import LatticeFlowsError
from theories.teleportation import Teleportation

TIMES = (0.0, 0.2, 1 / 3, 0.5, 0.9, 1.0)  # at 1/3 the energy is flat between m/2 and m


def brute_force(m, t, spacing=1e-3):
    """x, p_t, F_t and v_t by the trapezoid rule, of the energy as the paper has it."""
    x = np.arange(-45, m + 45, spacing)
    wells = 2 * np.minimum(abs(x), abs(x - m))
    unnormalised = np.exp(-(1 - t) * abs(x) - t * wells)
    total = cumulative_trapezoid(unnormalised, x, initial=0)
    p, distribution = unnormalised / total[-1], total / total[-1]
    rate = wells - abs(x)  # of the energy
    mean = np.trapezoid(p * rate, x)
    flux = cumulative_trapezoid(p * (rate - mean), x, initial=0)  # p v, by continuity
    return x, p, distribution, flux / p


@pytest.mark.parametrize(
    ("m", "value"), [(1.0, 0.2306), (5.0, 371.5), (10.0, 2.484e5), (15.0, 8.591e7)]
)
def test_the_norm_at_the_end_is_the_known_one_to_four_digits(m, value):
    assert float(f"{Teleportation(m).squared_norm(1.0):.3e}") == value


@pytest.mark.parametrize(
    ("t", "value"), [(0.0, 1.6513), (0.5, 44.65), (0.9, 7.74e4), (0.99, 2.274e5)]
)
def test_the_norm_on_the_way_is_the_known_one(t, value):
    assert Teleportation(10.0).squared_norm(t) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("m", [0.1, 1.0, 7.0, 50.0, 300.0])
def test_quadrature_and_closed_form_agree(m):
    path = Teleportation(m)
    assert path.squared_norm(1.0) == pytest.approx(path.final_squared_norm(), rel=1e-12)


def test_far_wells_follow_the_asymptotic_law():
    m = 50.0
    law = m**2 / 8 * np.exp(m) * (1 - 1 / m)
    assert Teleportation(m).final_squared_norm() == pytest.approx(law, rel=1e-3)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("m", [0.7, 5.0])
def test_against_quadrature_on_a_grid(m, t):
    path = Teleportation(m)
    x, p, distribution, velocity = brute_force(m, t)
    np.testing.assert_allclose(path.density(t, x), p, rtol=1e-5)
    np.testing.assert_allclose(path.distribution(t, x), distribution, atol=1e-6)
    near = abs(x - m / 2) < m / 2 + 3  # sums from the left lose the right tail
    np.testing.assert_allclose(path.velocity(t, x)[near], velocity[near], rtol=1e-3, atol=1e-3)
    norm = np.trapezoid((p * velocity**2)[near], x[near])
    ours = np.trapezoid((p * np.asarray(path.velocity(t, x)) ** 2)[near], x[near])
    assert ours == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("m", [0.7, 5.0, 15.0])
def test_the_density_integrates_to_one(m, t):
    x = np.arange(-45, m + 45, 1e-3)
    assert np.trapezoid(Teleportation(m).density(t, x), x) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("t", [0.2, 1 / 3, 0.5, 0.9])
def test_the_continuity_equation(t):
    path, step = Teleportation(5.0), 1e-4
    x = np.linspace(-4, 9, 53) + 0.03  # no corner of the energy within a step
    corners = np.array([0.0, 2.5, 5.0])
    assert np.min(np.abs(x[:, None] - corners)) > 2 * step

    def flux(x):
        return path.density(t, x) * path.velocity(t, x)

    rate = (path.density(t + step, x) - path.density(t - step, x)) / (2 * step)
    divergence = (flux(x + step) - flux(x - step)) / (2 * step)
    np.testing.assert_allclose(rate, -divergence, atol=1e-7)
    assert np.max(np.abs(rate)) > 1e-2


@pytest.mark.parametrize("t", TIMES)
def test_corners_and_far_tails_are_finite(t):
    path = Teleportation(15.0)
    x = np.array([-1e6, -800.0, 0.0, 7.5, 15.0, 900.0, 1e6])
    for values in (path.distribution(t, x), path.velocity(t, x), path.density(t, x)):
        assert np.all(np.isfinite(values))
    distribution = path.distribution(t, x)
    assert np.all(np.diff(distribution) >= 0)
    np.testing.assert_allclose(distribution[jnp.array([0, -1])], [0, 1])
    gap = 1e-9
    np.testing.assert_allclose(path.velocity(t, x + gap), path.velocity(t, x), rtol=1e-6, atol=1e-7)


def test_times_may_be_traced():
    path, times = Teleportation(5.0), jnp.linspace(0, 1, 3)
    mapped = jax.lax.map(path.squared_norm, times)
    np.testing.assert_allclose(mapped, [path.squared_norm(t) for t in times], rtol=1e-12)


@pytest.mark.parametrize("m", [0.0, -1.0, np.inf, np.nan])
def test_a_bad_distance_is_refused(m):
    with pytest.raises(LatticeFlowsError, match="m must be a positive distance"):
        Teleportation(m)
