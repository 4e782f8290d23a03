"""Objectives: they vanish where the field is exact, and their gradients are their slopes."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import double, random_params

from lattice_flows import walkers as annealed
from lattice_flows.base import Ultralocal
from lattice_flows.base.base import Base
from lattice_flows.fields import Field, convolutional
from lattice_flows.flow import Flow, Params
from lattice_flows.objectives import OBJECTIVES, Setting
from lattice_flows.walkers import Couplings, Walkers
from theories import FreeField, Phi4, TransferMatrix
from theories.lattice import filter_modes, laplacian_eigenvalues

OPEN = jnp.float64(1.0)
START, MASS_SQUARED = 1.5, 0.4


@dataclass(frozen=True)
class White(Base):
    """Independent normal sites e^{-aφ²}, a = START."""

    def energy(self, params, phi, couplings):
        return START * jnp.sum(phi**2)

    def log_normalisation(self, params, couplings):
        return jnp.asarray(0.5 * self.theory.sites * np.log(np.pi / START))

    def sample(self, params, key, couplings):
        return jax.random.normal(key, self.theory.shape) / np.sqrt(2 * START)


def exact_field(theory: FreeField) -> Field:
    """The field of the linear path from White to the free field; its parameter multiplies it.

    f_t = Σ_k A_k(t)|φ_k|² with A_k = (1-t)a + t(k̂² + M²), so V_k = -½ (A_k'/A_k) φ_k.
    """
    modes = jnp.asarray(laplacian_eigenvalues(theory.shape)) + MASS_SQUARED

    def apply(factor, t, phi, couplings):
        rate = -0.5 * (modes - START) / ((1 - t) * START + t * modes)
        return factor * filter_modes(rate, phi), factor * jnp.sum(rate)

    return Field(lambda key: jnp.ones(()), apply)


def gaussian_setting(shape, points="both", steps=32, batch=64) -> Setting:
    theory = FreeField(shape)
    flow = Flow(White(theory), exact_field(theory), steps)
    given = Couplings(theory.from_values(mass_squared=MASS_SQUARED), {})
    return Setting(flow, given, batch, points)


EXACT = Params((), jnp.ones(()))


# deformation


@pytest.mark.parametrize("points", ["walkers", "own", "both"])
def test_the_residual_vanishes_for_the_exact_field(points):
    setting = gaussian_setting((2, 3), points)
    objective = OBJECTIVES["deformation"](setting)
    state = jax.jit(objective.init)(EXACT, jax.random.key(1))
    run = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    (loss, (state, metrics)), slope = run(EXACT, state, jax.random.key(2), OPEN)
    assert 0 <= loss < 1e-20 and abs(slope.field) < 1e-10
    assert metrics["residual"] < 1e-20
    wrong = EXACT._replace(field=jnp.asarray(0.9))
    (loss, _), slope = run(wrong, state, jax.random.key(3), OPEN)
    assert loss > 1e-3 and slope.field < -1e-2


def test_the_loss_on_walkers_is_the_variance_of_the_residual(monkeypatch):
    """With (1+ε)V it is ε² ⟨Var ∂_t f⟩ = ε² ∫dt ½ Σ_k ((A'_k)/A_k)², whatever a group's size.

    Exact draws of p_t in thousands of groups of twelve: without the factor n/(n-1) it would be
    8 % too small, 12 of the standard errors of which 4.5 are allowed.
    """
    monkeypatch.setattr(annealed, "_DRIFT", 0.0)
    setting = gaussian_setting((6,), "walkers")
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
    objective = OBJECTIVES["deformation"](setting)
    wrong = EXACT._replace(field=jnp.asarray(1.1))
    loss, (_, metrics) = jax.jit(objective.loss)(wrong, state, jax.random.key(3), OPEN)
    expected = 0.01 * 0.5 * np.sum(((modes - START) / (precision / 2)) ** 2, axis=1)
    # a group's estimate of its variance scatters by about √(2/(n-1)), more for few modes
    assert loss == pytest.approx(expected.mean(), rel=4.5 * 0.6 / np.sqrt(groups))
    assert metrics["residual"] == loss


def phi4_setting(points, ranges, batch=64) -> tuple[Setting, Params]:
    theory = Phi4((3,))
    field = convolutional(theory, ranges, width=4, channels=2)
    flow = Flow(Ultralocal(theory, 0.5), field, 4)
    given = Couplings(theory.from_values(m=0.6, alpha=0.2), ranges)
    return Setting(flow, given, batch, points), Params((), random_params(field, 0.7, seed=3))


def slope_and_difference(loss, params, seed):
    """A directional derivative of a loss by its gradient, and by central differences."""
    rng = np.random.default_rng(seed)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), params.field)
    slope = sum(
        float(jnp.vdot(a, b))
        for a, b in zip(
            *map(jax.tree.leaves, (jax.jit(jax.grad(loss))(params.field), direction)), strict=True
        )
    )
    h, compiled = 1e-5, jax.jit(loss)
    ends = [
        float(compiled(jax.tree.map(lambda x, d: x + s * h * d, params.field, direction)))  # noqa: B023
        for s in (1, -1)
    ]
    return slope, (ends[0] - ends[1]) / (2 * h)


def test_the_gradient_of_the_deformation_loss(monkeypatch, seed):
    """By differences, on walkers and on own points; those are frozen, as the gradient takes them."""
    setting, params = phi4_setting("both", {"m": (0.25, 1.0)})
    objective = OBJECTIVES["deformation"](setting)
    state = jax.jit(objective.init)(params, jax.random.key(1))
    own = jax.jit(objective._own_points)(params, jax.random.key(2), state, OPEN)
    monkeypatch.setattr(type(objective), "_own_points", lambda *args: own)

    def loss(field):
        return objective.loss(params._replace(field=field), state, jax.random.key(2), OPEN)[0]

    slope, difference = slope_and_difference(loss, params, seed)
    assert abs(slope) > 0.1
    assert slope == pytest.approx(difference, rel=1e-6)


def test_own_points_carry_no_gradient_and_lie_on_the_flow():
    """The midpoint rule's own points against the flow's solver, started from the same draws."""
    setting = gaussian_setting((4,), "own")
    objective = OBJECTIVES["deformation"](setting)
    times = jnp.asarray([0.0, 0.5, 1.0])
    state = Walkers(jnp.zeros((3, 12, 4)), times, jnp.zeros((3, 0)), jnp.zeros(3))
    points = objective._own_points(EXACT, jax.random.key(7), state, OPEN)
    keys = jax.random.split(jax.random.key(7), (3, points.shape[1]))
    flow = setting.flow
    for i in range(3):
        start = jax.vmap(lambda k: flow.base.sample((), k, None))(keys[i])
        exact = start
        if i:
            exact = flow.transport(EXACT, start, None, end=float(times[i]))[0]
        np.testing.assert_allclose(points[i], exact, rtol=0, atol=0.02)
        assert i == 0 or np.abs(points[i] - start).max() > 0.1

    def loss(field):
        run = objective.loss(Params((), field), state, jax.random.key(1), OPEN)
        return jnp.sum(run[1][0].phi)

    assert jax.grad(loss)(jnp.ones(())) == 0  # nor do the walkers know of the field


def test_walkers_are_annealed_to_all_times():
    setting, params = phi4_setting("walkers", {"m": (0.25, 1.0)}, batch=160)
    state = jax.jit(OBJECTIVES["deformation"](setting).init)(params, jax.random.key(1))
    assert state.phi.shape == (10, 12, 3)
    np.testing.assert_allclose(state.t, np.linspace(0, 1, 10), atol=1e-12)
    assert np.all((state.place >= 0) & (state.place <= 1)) and np.ptp(state.place) > 0.5


# reverse KL


def test_reverse_kl_of_the_exact_flow_is_the_free_energy():
    setting = gaussian_setting((2, 3))
    objective = OBJECTIVES["reverse-kl"](setting)
    loss, (state, metrics) = jax.jit(objective.loss)(EXACT, (), jax.random.key(1), OPEN)
    exact = -setting.flow.base.theory.log_z(setting.couplings.fixed)
    assert loss == pytest.approx(exact, abs=1e-7)
    assert metrics["spread"] < 1e-6 and state == ()


def test_reverse_kl_is_the_mean_of_log_q_and_the_even_action():
    """Its own draws, done again by hand; and never below -log Z (here by far more than 5 errors)."""
    setting, params = phi4_setting("both", {}, batch=256)
    flow, key = setting.flow, jax.random.key(4)
    loss, (_, metrics) = jax.jit(OBJECTIVES["reverse-kl"](setting).loss)(params, (), key, OPEN)
    _, draw_key = jax.random.split(key)
    couplings = double(setting.couplings.fixed)
    phi, log_q = flow.sample(params, jax.random.split(draw_key, 1)[0], couplings, 256)
    plus, minus = (
        np.asarray(jax.vmap(lambda x, s=s: flow.base.theory.action(s * x, couplings))(phi))
        for s in (1.0, -1.0)
    )
    terms = log_q - np.log((np.exp(-plus) + np.exp(-minus)) / 2)
    assert loss == pytest.approx(float(np.mean(terms)), rel=1e-10)
    assert metrics["spread"] == pytest.approx(float(np.std(terms)), rel=1e-10)
    bound = -TransferMatrix(flow.base.theory, setting.couplings.fixed).log_z
    assert loss > bound + 5 * np.std(terms) / np.sqrt(256)


def test_the_gradient_of_reverse_kl(seed):
    setting, params = phi4_setting("both", {"m": (0.25, 1.0)})
    objective = OBJECTIVES["reverse-kl"](setting)

    def loss(field):
        return objective.loss(params._replace(field=field), (), jax.random.key(2), OPEN)[0]

    slope, difference = slope_and_difference(loss, params, seed)
    assert abs(slope) > 0.1
    assert slope == pytest.approx(difference, rel=1e-6)
