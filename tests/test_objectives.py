"""Objectives: they vanish where the field is exact, and their gradients are their slopes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import White, double, linear_setting, random_params

from lattice_flows.flows.base import Ultralocal
from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.fields import Field, convolutional
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.params import Params
from lattice_flows.flows.symmetry import symmetric_action
from lattice_flows.mcmc import walkers as annealed
from lattice_flows.mcmc.walkers import Walkers
from lattice_flows.training.objectives import OBJECTIVES
from lattice_flows.training.problem import Problem
from theories import FreeField, Phi4, TransferMatrix
from theories.lattice import filter_modes, laplacian_eigenvalues

OPEN = jnp.float64(1.0)
START, MASS_SQUARED = 1.5, 0.4


def exact_field(theory: FreeField) -> Field:
    """The field of the linear path from White to the free field; its parameter multiplies it.

    f_t = Σ_k A_k(t)|φ_k|² with A_k = (1-t)a + t(k̂² + M²), so V_k = -½ (A_k'/A_k) φ_k.
    """
    modes = jnp.asarray(laplacian_eigenvalues(theory.shape)) + MASS_SQUARED

    def apply(factor, t, phi, couplings):
        rate = -0.5 * (modes - START) / ((1 - t) * START + t * modes)
        return factor * filter_modes(rate, phi), factor * jnp.sum(rate)

    return Field(lambda key: jnp.ones(()), apply, odd=True)


def gaussian_setting(shape, points="mixed", steps=32, batch=64) -> Problem:
    theory = FreeField(shape)
    flow = Flow(White(theory, START), exact_field(theory), steps)
    given = Couplings(theory.from_values(mass_squared=MASS_SQUARED), {})
    return linear_setting(flow, given, batch, points=points)


EXACT = Params((), jnp.ones(()))


# deformation


def groups_of_walkers(shape, groups=4, ranges=0):
    """Configurations at various times; that they are not draws of p_t does not matter."""
    rng = np.random.default_rng(2)
    return Walkers(
        jnp.asarray(rng.normal(size=(groups, 12, *shape))),
        jnp.linspace(0, 1, groups),
        jnp.asarray(rng.uniform(size=(groups, ranges))),
        jnp.full(groups, -1.0),
    )


def test_the_residual_vanishes_for_the_exact_field():
    """At each point of space and time, be it typical or not; with the right C_t, too."""
    objective = OBJECTIVES["deformation"](gaussian_setting((2, 3)))
    state = groups_of_walkers((2, 3))
    run = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    (loss, (moved, metrics)), slope = run(EXACT, state, jax.random.key(2), OPEN)
    assert 0 <= loss < 1e-20 and abs(slope.field) < 1e-10
    assert metrics["residual"] < 1e-20
    wrong = EXACT._replace(field=jnp.asarray(0.9))
    (loss, (_, metrics)), slope = run(wrong, moved, jax.random.key(3), OPEN)
    assert loss > 1e-3 and slope.field < -1e-2
    # 12 walkers and 4 own points a group
    own = loss - 0.75 * 12 / 11 * metrics["residual"]
    assert metrics["residual"] > 1e-3 and own > 1e-4


@pytest.mark.parametrize("points", ["walkers", "trajectories", "particles", "box"])
def test_the_residual_vanishes_on_all_kinds_of_points(points):
    objective = OBJECTIVES["deformation"](gaussian_setting((3,), points))
    state = groups_of_walkers((3,)) if points == "walkers" else ()
    run = jax.jit(objective.loss)
    exact, _ = run(EXACT, state, jax.random.key(3), OPEN)
    wrong, _ = run(EXACT._replace(field=jnp.asarray(0.9)), state, jax.random.key(3), OPEN)
    assert 0 <= exact < 1e-20 and wrong > 1e-5


def test_the_loss_on_walkers_is_the_variance_of_the_residual(monkeypatch):
    """With (1+ε)V it is ε² ⟨Var ∂_t f⟩ = ε² ∫dt ½ Σ_k ((A'_k)/A_k)², whatever a group's size.

    Exact draws of p_t in thousands of groups of twelve: without the factor n/(n-1) it would be
    8 % too small, 12 of the standard errors of which 4.5 are allowed.
    """
    monkeypatch.setattr(annealed, "_DRIFT", 0.0)
    problem = gaussian_setting((6,), "walkers")
    groups, n = 8000, 12
    modes = laplacian_eigenvalues((6,)) + MASS_SQUARED
    rng = np.random.default_rng(9)
    t = rng.uniform(size=groups)
    precision = 2 * ((1 - t)[:, None] * START + t[:, None] * modes)
    noise = np.fft.fft(rng.normal(size=(groups, n, 6)))
    phi = np.fft.ifft(noise / np.sqrt(precision)[:, None]).real
    state = Walkers(
        jnp.asarray(phi), jnp.asarray(t), jnp.zeros((groups, 0)), jnp.full(groups, -1.0)
    )
    objective = OBJECTIVES["deformation"](problem)
    wrong = EXACT._replace(field=jnp.asarray(1.1))
    loss, (_, metrics) = jax.jit(objective.loss)(wrong, state, jax.random.key(3), OPEN)
    expected = 0.01 * 0.5 * np.sum(((modes - START) / (precision / 2)) ** 2, axis=1)
    # a group's estimate of its variance scatters by about √(2/(n-1)), more for few modes
    assert loss == pytest.approx(expected.mean(), rel=4.5 * 0.6 / np.sqrt(groups))
    assert metrics["residual"] * n / (n - 1) == pytest.approx(float(loss), rel=1e-12)


def phi4_setting(points, ranges, batch=64, penalty="squared") -> tuple[Problem, Params]:
    theory = Phi4((3,))
    field = convolutional(theory, ranges, width=4, channels=2)
    flow = Flow(Ultralocal(theory, 0.5), field, 4)
    given = Couplings(theory.from_values(m=0.6, alpha=0.2), ranges)
    params = Params((), random_params(field, 0.7, seed=3))
    return linear_setting(flow, given, batch, points=points, penalty=penalty), params


def check_gradient(loss, field, seed):
    """A directional derivative of a loss by its gradient and by central differences.

    Returns the loss, the new state and the metrics.
    """
    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, aux), gradient = compiled(field)
    rng = np.random.default_rng(seed)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), field)
    products = jax.tree.map(lambda a, b: float(np.sum(a * b)), gradient, direction)
    slope, h = sum(jax.tree.leaves(products)), 1e-5

    def at(step):
        return float(compiled(jax.tree.map(lambda x, d: x + step * d, field, direction))[0][0])

    assert abs(slope) > 0.1
    assert slope == pytest.approx((at(h) - at(-h)) / (2 * h), rel=1e-6)
    return value, *aux


@pytest.mark.parametrize(
    ("penalty", "middle", "by_hand"),
    [
        ("squared", np.mean, lambda e: e**2),
        ("absolute", np.median, np.abs),
        ("sum", np.mean, lambda e: np.abs(e) * (1 + np.abs(e))),
        ("logarithmic", np.median, lambda e: np.log(1 + np.abs(e))),
    ],
)
def test_the_deformation_loss_by_hand_and_its_gradient(monkeypatch, seed, penalty, middle, by_hand):
    """C_t is the walkers' alone. The flow's own points are frozen, as the gradient takes them."""
    problem, params = phi4_setting("mixed", {"m": (0.25, 1.0)}, penalty=penalty)
    objective = OBJECTIVES["deformation"](problem)
    state = groups_of_walkers((3,), ranges=1)
    own = state.phi[:, :4] + 0.1
    monkeypatch.setattr(type(objective.source), "_own_points", lambda *args: own)

    def loss(field):
        return objective.loss(params._replace(field=field), state, jax.random.key(2), OPEN)

    value, moved, metrics = check_gradient(loss, params.field, seed)

    def part(t, position, x):
        """∂_t f + ⟨∇f, V⟩ - ∇·V with every derivative taken by jax."""
        theta, theory = problem.couplings.at(position), problem.flow.base.theory

        def f(t, x):
            base = problem.flow.base.energy((), x, theta)
            return (1 - t) * base + t * symmetric_action(theory, x, theta)

        def velocity(x):
            return problem.flow.field.apply(params.field, t, x, theta)[0]

        rate, force = jax.grad(f, argnums=(0, 1))(t, x)
        return rate + force @ velocity(x) - jnp.trace(jax.jacfwd(velocity)(x))

    in_groups = jax.jit(jax.vmap(jax.vmap(part, in_axes=(None, None, 0))))
    points = jnp.concatenate([moved.phi, own], axis=1)
    parts = np.asarray(in_groups(moved.t, moved.position, points))
    residual = parts - middle(parts[:, :12], axis=1, keepdims=True)
    on_walkers, on_own = (np.mean(by_hand(part)) for part in (residual[:, :12], residual[:, 12:]))
    assert metrics["residual"] == pytest.approx(on_walkers, rel=1e-10)
    assert value == pytest.approx(0.75 * 12 / 11 * on_walkers + 0.25 * on_own, rel=1e-10)
    assert not np.allclose(residual.mean(axis=1), 0)


def test_own_points_lie_on_the_flow():
    """The midpoint rule's own points against the flow's solver, started from the same draws."""
    problem = gaussian_setting((4,), "mixed")
    source = OBJECTIVES["deformation"](problem).source
    times = jnp.asarray([0.0, 0.5, 1.0])
    state = Walkers(jnp.zeros((3, 12, 4)), times, jnp.zeros((3, 0)), jnp.zeros(3))
    points = source._own_points(EXACT, jax.random.key(7), state, OPEN)
    keys = jax.random.split(jax.random.key(7), (3, points.shape[1]))
    flow = problem.flow
    for i in range(3):
        start = jax.vmap(lambda k: flow.base.sample((), k, None))(keys[i])
        exact = start
        if i:
            exact = flow.integrate(EXACT, start, (), end=float(times[i]))[0]
        np.testing.assert_allclose(points[i], exact, rtol=0, atol=0.04)
        assert i == 0 or np.abs(points[i] - start).max() > 0.1


def test_walkers_are_annealed_to_all_times():
    problem, params = phi4_setting("walkers", {"m": (0.25, 1.0)}, batch=160)
    state = jax.jit(OBJECTIVES["deformation"](problem).init)(params, jax.random.key(1))
    assert state.phi.shape == (10, 12, 3)
    np.testing.assert_allclose(state.t, np.linspace(0, 1, 10), atol=1e-12)
    assert np.all((state.position >= 0) & (state.position <= 1)) and np.ptp(state.position) > 0.5


# reverse KL


def test_reverse_kl_of_the_exact_flow_is_the_free_energy():
    problem = gaussian_setting((2, 3))
    objective = OBJECTIVES["reverse-kl"](problem)
    loss, (state, metrics) = jax.jit(objective.loss)(EXACT, (), jax.random.key(1), OPEN)
    exact = -problem.flow.base.theory.log_z(problem.couplings.fixed)
    assert loss == pytest.approx(exact, abs=1e-7)
    assert metrics["spread"] < 1e-6 and state == ()


def test_reverse_kl_is_the_mean_of_log_q_and_the_even_action(seed):
    """The same draws done again by hand, -log Z as the lower bound, and its gradient."""
    problem, params = phi4_setting("mixed", {}, batch=256)
    flow, key = problem.flow, jax.random.key(4)
    objective = OBJECTIVES["reverse-kl"](problem)

    def of_field(field):
        return objective.loss(params._replace(field=field), (), key, OPEN)

    loss, _, metrics = check_gradient(of_field, params.field, seed)
    _, draw_key = jax.random.split(key)
    couplings = double(problem.couplings.fixed)
    sample = jax.jit(flow.sample, static_argnums=3)
    phi, log_q = sample(params, jax.random.split(draw_key, 1)[0], couplings, 256)
    plus, minus = (
        np.asarray(jax.vmap(lambda x, s=s: flow.base.theory.action(s * x, couplings))(phi))
        for s in (1.0, -1.0)
    )
    terms = log_q - np.logaddexp(-plus, -minus) + np.log(2)
    assert loss == pytest.approx(float(np.mean(terms)), rel=1e-10)
    assert metrics["spread"] == pytest.approx(float(np.std(terms)), rel=1e-10)
    bound = -TransferMatrix(flow.base.theory, problem.couplings.fixed).log_z
    assert loss > bound + 5 * np.std(terms) / np.sqrt(256)


def test_reverse_kl_is_averaged_over_the_ranges():
    """With a field that does nothing it is linear in m: the mean over m in (m₁, m₂), partly open.

    Its own draws are those of the base, 16 for each of 256 values of m: within 4.5 errors.
    """
    theory = Phi4((3,))
    nothing = Field(lambda key: jnp.zeros(()), lambda p, t, x, c: (p * x, p), odd=True)
    problem = linear_setting(
        Flow(Ultralocal(theory, 0.5), nothing, 1),
        Couplings(theory.from_values(alpha=0.0), {"m": (0.2, 1.0)}),
        4096,
    )
    loss = jax.jit(OBJECTIVES["reverse-kl"](problem).loss)
    params, key = Params((), jnp.zeros(())), jax.random.key(1)
    wide, narrow = (float(loss(params, (), key, jnp.asarray(x))[0]) for x in (1.0, 0.5))
    x = np.linspace(-8, 8, 2001)
    density = np.exp(-(x**4) / 16 - x**2 / 8)
    phi2 = np.sum(density * x**2) / density.sum()
    # the mean of m is 0.6, and 0.4 where half of the range is open
    assert narrow - wide == pytest.approx(3 * 0.2 * phi2, rel=4.5 * 0.6 / np.sqrt(256))
