"""Velocity fields: exact divergence, and the symmetries of the lattice, to rounding."""

from __future__ import annotations

import functools
import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import double, random_params

from lattice_flows.flows.fields import FIELDS, transport
from theories import DoubleWell, Phi4
from theories.lattice import point_group, transform

IN_M_AND_LAM, DOUBLE_WELL = "phi4 (5,) in m and lam", "double well in mass and period"
THEORIES = {
    "phi4 (2,)": (Phi4((2,)), {}),
    "phi4 (3, 4)": (Phi4((3, 4)), {}),
    "phi4 (3, 3)": (Phi4((3, 3)), {"m": (0.25, 1.0)}),
    IN_M_AND_LAM: (Phi4((5,)), {"m": (0.25, 1.0), "lam": (0.05, 0.2)}),
    DOUBLE_WELL: (DoubleWell((4,)), {"mass": (1.5, 6.0), "period": (2.0, 4.0)}),
}
WITH_RANGES = [case for case, (_, ranges) in THEORIES.items() if ranges]
CASES = [
    *itertools.product(FIELDS, THEORIES),
    *itertools.product(["transport"], WITH_RANGES),
]
BOTH_CONDITIONED = [case for case in CASES if case[1] in (IN_M_AND_LAM, DOUBLE_WELL)]


@functools.cache
def made(name: str, case: str):
    """Theory, couplings, parameters of order one, field, and its compiled (V, ∇·V, Jacobian)."""
    theory, ranges = THEORIES[case]
    make = FIELDS.get(name, along_a_bend)
    field = make(theory, ranges, width=5)

    @jax.jit
    def evaluate(params, t, phi, couplings):
        def velocity(x):
            v, divergence = field.apply(params, t, x, couplings)
            return v, (v, divergence)

        jacobian, (v, divergence) = jax.jacfwd(velocity, has_aux=True)(phi)
        return v, divergence, jacobian.reshape(theory.sites, theory.sites)

    params, couplings = random_params(field, 1.0), double(theory.from_values())
    return theory, couplings, params, field, evaluate


def along_a_bend(theory, ranges, width):
    """The field of a transport on a way through coupling space that is not straight."""

    def route(t, couplings):
        return jax.tree.map(lambda x: x * (1 + 0.2 * t * (1 + t)), couplings)

    return transport(theory, ranges, width).along(route)


def draws(theory, seed, n=3):
    return np.random.default_rng(seed).normal(0, 1.5, (n, *theory.shape))


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_divergence_is_the_trace_of_the_jacobian(name, case, seed):
    theory, couplings, params, _, evaluate = made(name, case)
    for t, phi in zip((0.0, 0.37, 1.0), draws(theory, seed), strict=True):
        _, divergence, jacobian = evaluate(params, jnp.float64(t), jnp.asarray(phi), couplings)
        size = max(1.0, float(np.abs(np.diag(jacobian)).sum()))
        assert abs(divergence - np.trace(jacobian)) < 1e-12 * size
        if t > 0 or name != "linear":  # which begins at rest
            assert np.abs(jacobian).min() > 1e-6 * size  # every site sees every other one


@pytest.mark.parametrize(("name", "case"), [pair for pair in CASES if pair[0] != "mlp"])
def test_the_field_moves_with_the_lattice(name, case, seed):
    """V(gφ) = g V(φ) for every translation and point-group element; if odd, V(-φ) = -V(φ)."""
    theory, couplings, params, field, evaluate = made(name, case)
    (phi,) = draws(theory, seed, 1)
    t = jnp.float64(0.37)
    axes = tuple(range(len(theory.shape)))
    moves = [
        *(lambda x, s=s: jnp.roll(x, s, axes) for s in np.ndindex(*theory.shape)),
        *(lambda x, g=g: transform(x, g) for g in point_group(theory.shape)),
        *([lambda x: -x] if field.odd else []),
    ]
    velocity, divergence, _ = evaluate(params, t, jnp.asarray(phi), couplings)
    size = max(1.0, float(np.abs(velocity).max()))
    for move in moves:
        moved, there, _ = evaluate(params, t, move(jnp.asarray(phi)), couplings)
        np.testing.assert_allclose(moved, move(velocity), rtol=0, atol=1e-12 * size)
        np.testing.assert_allclose(there, divergence, rtol=0, atol=1e-12 * size * theory.sites)


@pytest.mark.parametrize("name", ["hollow", "convolutional"])
@hypothesis.given(
    t=st.floats(0, 1),
    scale=st.floats(1e-3, 20),
    shift=st.integers(0, 4),
    m=st.floats(0.25, 1),
    seed=st.integers(0, 2**16),
)
def test_divergence_and_symmetry_hold_anywhere(name, t, scale, shift, m, seed):
    theory, couplings, params, _, evaluate = made(name, IN_M_AND_LAM)
    phi = jnp.asarray(scale * np.random.default_rng(seed).normal(size=theory.shape))
    couplings, t = couplings._replace(m=jnp.float64(m)), jnp.float64(t)
    velocity, divergence, jacobian = evaluate(params, t, phi, couplings)
    size = max(1.0, float(np.abs(jacobian).sum()), float(np.abs(velocity).max()))
    assert abs(divergence - np.trace(jacobian)) < 1e-12 * size
    moved, _, _ = evaluate(params, t, -jnp.roll(phi, shift)[::-1], couplings)
    np.testing.assert_allclose(moved, -jnp.roll(velocity, shift)[::-1], rtol=0, atol=1e-12 * size)


def test_a_field_says_whether_it_is_odd(seed):
    for name in FIELDS:
        theory, couplings, params, field, evaluate = made(name, IN_M_AND_LAM)
        phi = jnp.asarray(draws(theory, seed, 1)[0])
        there, back = (evaluate(params, jnp.float64(0.4), s * phi, couplings)[0] for s in (1, -1))
        assert field.odd == bool(np.abs(there + back).max() < 1e-9)


@pytest.mark.parametrize(("name", "case"), BOTH_CONDITIONED)
def test_every_parameter_and_every_trained_coupling_acts(name, case, seed):
    theory, couplings, params, field, _ = made(name, case)
    phi = jnp.asarray(draws(theory, seed, 1)[0])

    @jax.jit
    def slopes(*args):
        def total(params, t, couplings):
            velocity, divergence = field.apply(params, t, phi, couplings)
            return jnp.sum(velocity * phi**3) + divergence

        return jax.grad(total, argnums=(0, 1, 2))(*args)

    of_params, in_time, in_couplings = slopes(params, jnp.float64(0.37), couplings)
    for path, slope in jax.tree_util.tree_leaves_with_path(of_params):
        assert np.abs(slope).max() > 1e-8, jax.tree_util.keystr(path)
    assert abs(in_time) > 1e-8
    for coupling in THEORIES[case][1]:
        assert abs(getattr(in_couplings, coupling)) > 1e-8, coupling


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_the_same_one_by_one_and_in_a_batch(name, seed):
    theory, couplings, params, field, evaluate = made(name, "phi4 (3, 4)")
    phis, times = jnp.asarray(draws(theory, seed)), jnp.asarray([0.1, 0.5, 0.9])
    batch = jax.jit(jax.vmap(field.apply, in_axes=(None, 0, 0, None)))
    velocities, divergences = batch(params, times, phis, couplings)
    for i in range(len(phis)):
        velocity, divergence, _ = evaluate(params, times[i], phis[i], couplings)
        np.testing.assert_allclose(velocities[i], velocity, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(divergences[i], divergence, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_keeps_its_precision(name):
    """float32 parameters and configurations stay float32 where jax could do more."""
    theory = Phi4((5,))
    field = FIELDS[name](theory, {}, width=5)
    params = jax.tree.map(lambda x: x.astype(jnp.float32), random_params(field, 1.0))
    couplings = jax.tree.map(jnp.float32, theory.from_values())
    outcome = jax.eval_shape(
        field.apply, params, jnp.float32(0.5), jnp.zeros((5,), jnp.float32), couplings
    )
    assert [x.dtype for x in outcome] == [jnp.float32, jnp.float32]
    assert [x.shape for x in outcome] == [(5,), ()]


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"linear"}))
def test_width_is_the_width(name):
    """More width, more parameters, and the same parameters for the same key."""
    theory = Phi4((4,))

    def count(width):
        params = jax.eval_shape(FIELDS[name](theory, {}, width).init, jax.random.key(0))
        return sum(np.prod(leaf.shape, dtype=int) for leaf in jax.tree.leaves(params))

    assert count(4) < count(8) < count(16)
