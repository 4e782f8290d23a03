"""The gradient flow's energy and velocity against jax's derivatives, and at both ends."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import double, random_params

from lattice_flows.flows.fields import gradient
from theories import Phi4

WIDTH, HALF = 1.5, 9.0


@functools.cache
def made():
    theory = Phi4((2,))
    couplings = double(theory.from_values(m=0.6, alpha=0.2))
    ranges = {"m": (0.25, 1.0)}
    learned = gradient(theory, couplings, ranges, WIDTH, HALF, width=8)
    return theory, couplings, learned, random_params(learned.field, 0.7, seed=2)


@pytest.mark.parametrize("t", [0.2, 0.6, 1.0])
def test_derivatives_are_those_of_the_value(t, rng):
    _, couplings, learned, params = made()
    phi, t = jnp.asarray(rng.normal(0, 3, 2)), jnp.float64(t)

    def value(t, phi):
        return learned.energy(params, t, phi, couplings)

    jet = jax.jit(learned.jet)(params, t, phi, couplings)
    assert jet.value == pytest.approx(float(value(t, phi)), rel=1e-12)
    rate, force = jax.jit(jax.grad(value, argnums=(0, 1)))(t, phi)
    assert jet.rate == pytest.approx(float(rate), rel=1e-9)
    np.testing.assert_allclose(jet.force, force, rtol=1e-9)


@pytest.mark.parametrize("t", [0.2, 0.6, 1.0])
def test_the_velocity_is_the_gradient_and_its_divergence_exact(t, rng):
    """V = (da/dt)/a σ² ∇(f₀ - f)."""
    _, couplings, learned, params = made()
    phi, t = jnp.asarray(rng.normal(0, 3, 2)), jnp.float64(t)
    velocity, divergence = jax.jit(learned.field.apply)(params, t, phi, couplings)
    jacobian = jax.jit(jax.jacfwd(lambda x: learned.field.apply(params, t, x, couplings)[0]))(phi)
    assert divergence == pytest.approx(float(jnp.trace(jacobian)), rel=1e-9)
    a, growth = jax.jvp(learned.extent, (t,), (jnp.ones_like(t),))
    force = learned.jet(params, t, phi, couplings).force
    expected = growth / a * WIDTH**2 * (phi / WIDTH**2 - force)
    np.testing.assert_allclose(velocity, expected, rtol=1e-9)


def test_both_ends_are_right_whatever_the_parameters(rng):
    """The normal base at t = 0; at t = 1 the action, but for a floor twelve e-folds below."""
    theory, couplings, learned, params = made()
    for _ in range(5):
        phi = jnp.asarray(2 + 0.3 * rng.normal(size=2))
        start, end = (float(learned.energy(params, jnp.float64(t), phi, couplings)) for t in (0, 1))
        assert start == pytest.approx(float(jnp.sum(phi**2)) / (2 * WIDTH**2), rel=1e-12)
        assert end == pytest.approx(float(theory.action(phi, couplings)), abs=0.02)
    assert learned.extent(jnp.float64(0)) == 0
    assert learned.extent(jnp.float64(1)) == pytest.approx(1, rel=1e-12)
