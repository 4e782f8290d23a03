"""∂_θ log q of a flow: against finite differences, forward mode, and the score equation."""

from __future__ import annotations

import dataclasses

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import double, random_params

from lattice_flows.flows.model import build
from lattice_flows.flows.params import Params
from lattice_flows.runs.config import Config

NAMES = ("m", "lam")
RANGES = {"m": (0.2, 0.6), "lam": (0.1, 0.3)}
STEPS = 24
PLAIN = {"field": "convolutional"}  # compiled soonest


def plain():
    """A conditioned flow from the mean-field base, whose c and g depend on the couplings."""
    model = build(Config("phi4", (3,), RANGES, width=3, ode_steps=STEPS, **PLAIN))
    base = double(model.flow.base.init())
    base = jax.tree.map(lambda x: x + 0.1 * jnp.arange(1.0, 1 + len(x)) / len(x), base)
    return model, Params(base, random_params(model.flow.field, 0.4))


def transported():
    """A flow through coupling space from a trained one's density at m = 0.2."""
    source = Config("phi4", (3,), {"m": 0.2, "lam": (0.1, 0.2)}, width=3, ode_steps=STEPS, **PLAIN)
    config = Config(
        "phi4",
        (3,),
        RANGES,
        width=3,
        ode_steps=STEPS,
        objective="transport",
        source=dataclasses.asdict(source),
    )
    model, inner = build(config), build(source).flow
    base = Params(double(inner.base.init()), random_params(inner.field, 0.4, seed=1))
    return model, Params(base, random_params(model.flow.field, 0.4))


@pytest.fixture(scope="module", params=[plain, transported], ids=lambda f: f.__name__)
def made(request):
    model, params = request.param()
    theta = double(model.flow.base.theory.from_values(m=0.45, lam=0.17))
    phi = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    found = jax.jit(lambda p, x, c: model.flow.sensitivities(p, x, c, NAMES))(params, phi, theta)
    return model.flow, params, phi, theta, found


def test_it_is_the_slope_of_log_prob(made):
    """Central differences of the flow run backwards, in each coupling."""
    flow, params, phi, theta, (log_q, slopes) = made
    log_prob = jax.jit(flow.log_prob)
    np.testing.assert_allclose(log_q, log_prob(params, phi, theta), rtol=0, atol=1e-10)
    assert np.abs(slopes).min() > 1e-3
    for name, slope in zip(NAMES, slopes, strict=True):
        h = 1e-5
        above, below = (
            log_prob(params, phi, theta._replace(**{name: getattr(theta, name) + s * h}))
            for s in (1, -1)
        )
        np.testing.assert_allclose(slope, (above - below) / (2 * h), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("made", [plain], indirect=True)  # another base has no forward mode
def test_it_is_forward_mode_through_the_solver(made):
    """jax.jvp of the reverse solve, which diffrax has with another adjoint."""
    flow, params, phi, theta, (_, slopes) = made

    def log_prob(m):
        couplings = theta._replace(m=m)

        def rhs(t, state, args):
            v, divergence = jax.vmap(lambda x: flow.velocity(params, t, x, couplings))(state[0])
            return v, -divergence

        solved = diffrax.diffeqsolve(
            diffrax.ODETerm(rhs),
            diffrax.Tsit5(),
            1.0,
            0.0,
            -1 / STEPS,
            (phi, jnp.zeros(len(phi))),
            adjoint=diffrax.ForwardMode(),
        ).ys
        start, change = jax.tree.map(lambda x: x[0], solved)
        base = jax.vmap(lambda x: flow.base.log_prob(params.base, x, couplings))(start)
        return base - change

    _, slope = jax.jit(lambda m: jax.jvp(log_prob, (m,), (jnp.ones(()),)))(theta.m)
    np.testing.assert_allclose(slopes[0], slope, rtol=0, atol=1e-9)


def test_it_solves_the_equation_along_the_flow(made):
    """ℓ' = -∇·(∂_θ V) - ⟨∂_θ V, s⟩ along x' = V, with the score's own equation (forward in t)."""
    flow, params, phi, theta, (_, slopes) = made
    start, _ = jax.jit(lambda x: flow.integrate(params, x, theta, start=1.0, end=0.0))(phi)

    def begin(x):
        def log_prob(x, theta):
            return flow.base.log_prob(params.base, x, theta)

        return jax.grad(log_prob)(x, theta), jax.grad(log_prob, argnums=1)(x, theta).m

    def rhs(state, t):
        x, score, _ = state

        def field(x, m):
            return flow.velocity(params, t, x, theta._replace(m=m))

        (v, _), pullback = jax.vjp(lambda x: field(x, theta.m), x)
        (d_v, d_divergence) = jax.jvp(lambda m: field(x, m), (theta.m,), (jnp.ones(()),))[1]
        score_rate = -pullback((score, jnp.ones(())))[0]
        return v, score_rate, -d_divergence - jnp.sum(d_v * score)

    def runge_kutta(x):
        state, n = (x, *begin(x)), 100

        def step(state, i):
            def shifted(k, h):
                return jax.tree.map(lambda a, b: a + h * b, state, k)

            t = i / n
            k1 = rhs(state, t)
            k2 = rhs(shifted(k1, 0.5 / n), t + 0.5 / n)
            k3 = rhs(shifted(k2, 0.5 / n), t + 0.5 / n)
            k4 = rhs(shifted(k3, 1 / n), t + 1 / n)
            total = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, k1, k2, k3, k4)
            return shifted(total, 1 / n), None

        return jax.lax.scan(step, state, jnp.arange(float(n)))[0]

    end, _, slope = jax.jit(jax.vmap(runge_kutta))(start)
    np.testing.assert_allclose(end, phi, rtol=0, atol=1e-6)
    np.testing.assert_allclose(slopes[0], slope, rtol=0, atol=1e-6)
