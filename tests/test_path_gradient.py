"""The path gradient: its score is that of log q, its mean the slope of KL, its noise gone at p."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import White, double, linear_setting, random_params

from lattice_flows.flows.base import Gaussian, Ultralocal
from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.fields import FIELDS, Field
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.params import Params
from lattice_flows.runs.config import Config
from lattice_flows.training.objectives import OBJECTIVES
from lattice_flows.training.problem import Problem
from lattice_flows.training.trainer import CHUNK, Trainer
from theories import FreeField, Phi4, TransferMatrix
from theories.lattice import filter_modes, laplacian_eigenvalues

OPEN = jnp.float64(1.0)

# the score


@pytest.mark.parametrize(
    ("name", "shape"),
    [("hollow", (2, 3)), ("convolutional", (4,)), ("translation", (4,)), ("mlp", (4,))],
)
def test_the_score_is_the_slope_of_log_q(name, shape):
    """Against jax's gradient of log q, which solves the flow backwards and knows no score."""
    theory = Phi4(shape)
    field = FIELDS[name](theory, {}, 4)
    flow = Flow(Gaussian(theory), field, 48)
    params = Params((), random_params(field, 0.7, seed=5))
    couplings = double(theory.from_values(m=0.6, alpha=0.2))
    with_score = jax.jit(flow.sample_with_score, static_argnums=3)
    phi, log_q, score = with_score(params, jax.random.key(1), couplings, 20)

    def total(phi):
        log_q = flow.log_prob(params, phi, couplings)
        return jnp.sum(log_q), log_q

    slope, backwards = jax.jit(jax.grad(total, has_aux=True))(phi)
    assert score.shape == phi.shape
    np.testing.assert_allclose(log_q, backwards, rtol=0, atol=1e-6)
    np.testing.assert_allclose(score, slope, rtol=0, atol=1e-6)
    base = -jax.vmap(jax.grad(lambda x: flow.base.energy((), x, couplings)))(phi)
    assert np.std(score - base) > 0.1  # the flow has made something else of it


def test_the_score_of_a_linear_field_in_closed_form(rng):
    """V = Aφ carries the score s to e^{-Aᵀ}s; in the field's precision, kept in that of φ."""
    theory, matrix = Phi4((4,)), rng.normal(size=(4, 4))
    field = Field(lambda key: jnp.asarray(matrix), lambda p, t, x, c: (p @ x, jnp.trace(p)), True)
    flow, couplings = Flow(Ultralocal(theory, 0.5), field, 64), double(theory.from_values())
    with_score = jax.jit(flow.sample_with_score, static_argnums=3)
    inverse = scipy.linalg.expm(-matrix)
    for dtype, tolerance in ((jnp.float64, 1e-7), (jnp.float32, 1e-4)):
        params = Params((), jnp.asarray(matrix, dtype))
        phi, _, score = with_score(params, jax.random.key(2), couplings, 5)
        start = phi @ inverse.T
        exact = -jax.vmap(jax.grad(lambda x: flow.base.energy((), x, couplings)))(start) @ inverse
        assert score.dtype == jnp.float64
        np.testing.assert_allclose(score, exact, rtol=0, atol=tolerance * np.abs(exact).max())


# the gradient


def small_field(theory) -> Field:
    """Three parameters: p₀ φ + p₁ tanh φ + p₂ t × (the next site's φ)."""

    def apply(p, t, phi, couplings):
        bent = jnp.tanh(phi)
        v = p[0] * phi + p[1] * bent + p[2] * t * jnp.roll(phi, 1, axis=0)
        return v, p[0] * theory.sites + p[1] * jnp.sum(1 - bent**2)

    return Field(lambda key: jnp.zeros(3), apply, odd=True)


SOMEWHERE = jnp.asarray([0.3, -0.7, 0.5])


def phi4_setting(ranges, batch) -> Problem:
    theory = Phi4((4,))
    flow = Flow(Gaussian(theory), small_field(theory), 4)
    return linear_setting(flow, Couplings(theory.from_values(m=0.6, alpha=1.0), ranges), batch)


def gradients(name: str, problem: Problem) -> Callable[[jax.Array, jax.Array], np.ndarray]:
    """(field, keys) -> the gradient of the loss `name` for each key, compiled."""
    objective = OBJECTIVES[name](problem)

    def loss(field: jax.Array, key: jax.Array) -> jax.Array:
        return objective.loss(Params((), field), (), key, OPEN)[0]

    compiled = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))
    return lambda field, keys: np.asarray(compiled(field, keys))


def test_the_loss_is_the_value_of_reverse_kl():
    """From the same key, metrics and all."""
    problem = phi4_setting({"m": (0.25, 1.0)}, batch=64)
    (one, (state, metrics)), (other, (_, others)) = (
        jax.jit(OBJECTIVES[name](problem).loss)(Params((), SOMEWHERE), (), jax.random.key(4), OPEN)
        for name in ("path-gradient", "reverse-kl")
    )
    assert state == () and metrics.keys() == others.keys()
    assert one == pytest.approx(float(other), rel=1e-12) and one != 0
    assert metrics["spread"] == pytest.approx(float(others["spread"]), rel=1e-12)


def test_it_is_the_gradient_of_reverse_kl_in_the_mean():
    """Of 2 × 2000 draws far from p, an odd coupling included, within 4.5 standard errors.

    Fails by chance once in 45,000 seeds. The slopes themselves are many errors from zero.
    """
    problem, keys = phi4_setting({}, 2), jax.random.split(jax.random.key(5), 2000)
    path, plain = (
        gradients(name, problem)(SOMEWHERE, keys) for name in ("path-gradient", "reverse-kl")
    )
    error = (path - plain).std(axis=0) / np.sqrt(len(keys))
    assert np.all(np.abs((path - plain).mean(axis=0)) < 4.5 * error)
    assert np.all(np.abs(path.mean(axis=0)) > 10 * error) and np.all(error > 0)


START, MASS_SQUARED = 1.5, 0.4


def test_the_slope_of_kl_between_gaussians_in_closed_form():
    """The field of the linear path to the free field times c: mode by mode q is a Gaussian of
    r = (A/a)^{1-c} times the variance of p, KL = ½ Σ (r - 1 - log r), A = k̂² + M².

    Of 2 × 2000 draws at c = 0.9; 4.5 standard errors fail by chance once in 140,000 seeds.
    """
    theory = FreeField((4,))
    modes = jnp.asarray(laplacian_eigenvalues((4,))) + MASS_SQUARED

    def apply(c, t, phi, couplings):
        rate = -0.5 * (modes - START) / ((1 - t) * START + t * modes)
        return c * filter_modes(rate, phi), c * jnp.sum(rate)

    flow = Flow(White(theory, START), Field(lambda key: jnp.ones(()), apply, odd=True), 8)
    problem = linear_setting(flow, Couplings(theory.from_values(mass_squared=MASS_SQUARED), {}), 2)
    logs, c = np.log(modes / START), 0.9
    exact = 0.5 * np.sum(logs * (1 - np.exp((1 - c) * logs)))
    keys = jax.random.split(jax.random.key(8), 2000)
    slopes = gradients("path-gradient", problem)(jnp.asarray(c), keys)
    error = slopes.std() / np.sqrt(len(keys))
    assert slopes.mean() == pytest.approx(exact, abs=4.5 * error)
    assert abs(exact) > 10 * error


def test_it_has_no_noise_where_q_is_p():
    """A free base for a free theory and the parameters zero: V = 0, and q is p exactly.

    There the path gradient of every draw is zero; at ε from there the noise is small like ε. That
    of the plain gradient is neither.
    """
    theory = FreeField((2, 2))
    flow = Flow(Gaussian(theory), small_field(theory), 4)
    problem = linear_setting(flow, Couplings(theory.from_values(mass_squared=MASS_SQUARED), {}), 2)
    path, plain = gradients("path-gradient", problem), gradients("reverse-kl", problem)
    keys = jax.random.split(jax.random.key(9), 100)
    assert np.abs(path(0 * SOMEWHERE, keys)).max() < 1e-12
    noise = plain(0 * SOMEWHERE, keys).std(axis=0)
    assert np.all(noise > 0.1)
    near, nearer = (path(epsilon * SOMEWHERE, keys).std(axis=0) for epsilon in (1e-2, 1e-3))
    assert np.all(near < 0.1 * noise)
    np.testing.assert_allclose(near / nearer, 10, rtol=0.1)


# training


def test_training_with_it_brings_the_flow_closer_to_the_theory():
    """The loss has -log Z as its lower bound: of what it lies above, little is left."""
    config = Config(
        theory="phi4",
        shape=(4,),
        couplings={"m": 0.6, "alpha": 0.05},
        objective="path-gradient",
        field="convolutional",
        base="ultralocal",
        steps=2 * CHUNK,
        batch=64,
        width=4,
        ode_steps=4,
        learning_rate=0.02,
        x64=True,
    )
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix integers and floats
        trainer = Trainer(config)
        start = trainer.init(jax.random.key(0))
        middle, first = trainer.advance(start, steps=CHUNK)
        end, second = trainer.advance(middle, steps=CHUNK)
    theory = config.make_theory()
    log_z = TransferMatrix(theory, theory.from_values(m=0.6, alpha=0.05)).log_z
    assert int(end.step) == 2 * CHUNK and int(end.skipped) == 0
    assert second["loss"] + log_z < 0.5 * (first["loss"] + log_z)
