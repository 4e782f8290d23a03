"""Z₂ where a coupling breaks it: the even target, and the orbit resampling that undoes it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import double

from lattice_flows.flows.symmetry import log_keep_probability, resample_orbit, symmetric_action
from theories import DoubleWell, FreeField, Phi4

TILTED = [
    (Phi4((2,)), {"m": 0.5, "alpha": 0.1}),
    (Phi4((2, 2)), {"m": 0.3, "alpha": -0.3}),
    (DoubleWell((2,)), {"tilt": 0.4}),
]


def plane(points=161, end=7.0):
    """Configurations of two sites on a grid, (n, 2), and the area of a cell."""
    axis = np.linspace(-end, end, points)
    nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return jnp.asarray(nodes), (axis[1] - axis[0]) ** 2


@pytest.mark.parametrize(("theory", "values"), TILTED)
def test_the_even_action_is_the_mean_of_both_weights(theory, values, rng):
    couplings = double(theory.from_values(**values))
    for scale in (0.3, 2.0):
        phi = jnp.asarray(scale * rng.normal(size=theory.shape))
        plus, minus = (theory.action(sign * phi, couplings) for sign in (1, -1))
        even = symmetric_action(theory, phi, couplings)
        mean = -np.log((np.exp(-plus) + np.exp(-minus)) / 2)
        assert even == pytest.approx(float(mean), rel=1e-12)
        assert even == pytest.approx(float(symmetric_action(theory, -phi, couplings)), rel=1e-14)
        assert abs(even - plus) > 1e-4  # the couplings do break the symmetry


def test_the_even_action_neither_overflows_nor_loses_its_gradient():
    theory = Phi4((2,))
    couplings = double(theory.from_values(alpha=2.0))
    far = jnp.asarray([60.0, 55.0])  # actions that differ by thousands
    even, slope = jax.value_and_grad(lambda x: symmetric_action(theory, x, couplings))(far)
    action, of_action = jax.value_and_grad(lambda x: theory.action(x, couplings))(far)
    assert even == pytest.approx(float(action) + np.log(2), rel=1e-13)
    np.testing.assert_allclose(slope, of_action, rtol=1e-12)


@pytest.mark.parametrize(
    ("theory", "values"),
    [(FreeField((3,)), {}), (Phi4((3,)), {"alpha": 0.0}), (DoubleWell((3,)), {})],
)
def test_without_tilt_it_is_the_action(theory, values, rng):
    couplings = double(theory.from_values(**values))
    phi = jnp.asarray(rng.normal(size=3))
    action = theory.action(phi, couplings)
    assert symmetric_action(theory, phi, couplings) == pytest.approx(float(action), rel=1e-14)


@pytest.mark.parametrize(("theory", "values"), TILTED[::2])
def test_the_partition_sum_is_that_of_the_action(theory, values):
    """By the trapezoid rule in the plane of two sites."""
    couplings = double(theory.from_values(**values))
    nodes, cell = plane()
    sums = [
        float(jnp.sum(jnp.exp(-jax.vmap(lambda x, f=f: f(x, couplings))(nodes))) * cell)
        for f in (theory.action, lambda x, c: symmetric_action(theory, x, c))
    ]
    assert sums[1] == pytest.approx(sums[0], rel=1e-12)


@pytest.mark.parametrize(("theory", "values"), TILTED)
def test_a_draw_is_kept_as_often_as_it_should_be(theory, values, seed, rng):
    """The frequency of keeping φ is π(φ), to 4.5 standard deviations (1 in 100,000 seeds)."""
    couplings = double(theory.from_values(**values))
    n = 20_000
    for phi in jnp.asarray(rng.normal(0, 0.7, (3, *theory.shape))):
        keys = jax.random.split(jax.random.key(seed), n)
        kept = jax.vmap(lambda k, x=phi: resample_orbit(theory, k, x, couplings))(keys)
        assert set(map(bytes, np.unique(np.abs(kept), axis=0))) == {bytes(np.abs(phi))}
        plus, minus = (float(theory.action(sign * phi, couplings)) for sign in (1, -1))
        expected = np.exp(-plus) / (np.exp(-plus) + np.exp(-minus))
        same = np.asarray(kept) == np.asarray(phi)[None]
        found = same.reshape(n, -1).all(axis=1).mean()
        assert abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / n)
        log_keep = log_keep_probability(theory, phi, couplings)
        assert np.exp(log_keep) == pytest.approx(expected, rel=1e-12)


def test_resampling_turns_the_even_density_into_the_tilted_one(seed, rng):
    """Draws of e^{-S_s} on a grid, resampled: ⟨φ⟩ and ⟨φ³⟩ of e^{-S}, within 4.5 errors."""
    theory = Phi4((2,))
    couplings = double(theory.from_values(m=0.5, alpha=0.1))
    nodes, _ = plane()
    even = np.exp(-np.asarray(jax.vmap(lambda x: symmetric_action(theory, x, couplings))(nodes)))
    tilted = np.exp(-np.asarray(jax.vmap(lambda x: theory.action(x, couplings))(nodes)))
    n = 40_000
    draws = nodes[rng.choice(len(nodes), n, p=even / even.sum())]
    keys = jax.random.split(jax.random.key(seed), n)
    resampled = jax.vmap(lambda k, x: resample_orbit(theory, k, x, couplings))(keys, draws)
    for power in (1, 3):
        values = np.mean(np.asarray(resampled) ** power, axis=1)
        exact = np.sum(tilted * np.mean(np.asarray(nodes) ** power, axis=1)) / tilted.sum()
        assert exact > 0.05
        assert abs(values.mean() - exact) < 4.5 * values.std() / np.sqrt(n)
