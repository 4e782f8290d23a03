"""Transport between couplings, against exact answers, and around a loop in coupling space."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import White, double

from lattice_flows.flows.continuation import Anchor, CouplingLine, FlowBase, carry
from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.fields import Field, TransportFields
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.model import Model
from lattice_flows.flows.params import Params
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.training.objectives.trade import Trade
from lattice_flows.training.objectives.transport import Transport
from lattice_flows.training.problem import Problem
from lattice_flows.training.trainer import train
from lattice_flows.training.transfer import taken_over
from observables import kish_ess
from theories import FreeField, TransferMatrix
from theories.lattice import filter_modes, laplacian_eigenvalues
from theories.phi4 import Phi4Couplings

RANGES = {"m": (0.0, 0.6), "lam": (0.1, 0.3)}
START = Phi4Couplings(m=0.0, lam=0.2, alpha=0.05)


# a theory whose transport is known: mode k of a free field is a Gaussian of precision 2(k̂² + M²)


@pytest.fixture(scope="module")
def free():
    """The exact transport of the free field from M² = 0.5 to all of 0.5 … 2.5."""
    theory, ranges = FreeField((3, 2)), {"mass_squared": (0.5, 2.5)}
    modes = jnp.asarray(laplacian_eigenvalues(theory.shape))

    def apply(factor, phi, couplings):
        rate = -0.5 * factor / (modes + couplings.mass_squared)  # the half range is 1
        return filter_modes(rate, phi)[None], jnp.sum(rate)[None]

    fields = TransportFields(lambda key: jnp.ones(()), apply, ranges)
    start = theory.Couplings(mass_squared=0.5)
    base_modes = modes + 0.5

    def to_free_field(params, t, phi, couplings):  # from independent sites e^{-φ²}
        rate = -0.5 * (base_modes - 1) / ((1 - t) + t * base_modes)
        return params * filter_modes(rate, phi), params * jnp.sum(rate)

    source = Flow(White(theory, 1.0), Field(lambda key: jnp.ones(()), to_free_field, True), 48)
    base = FlowBase(theory, source, Anchor(start, start))
    flow = Flow(base, fields.along(base.anchor.line), 32)
    couplings = Couplings(double(start), ranges)
    params = Params(Params((), jnp.float64(1.0)), jnp.float64(1.0))
    config = Config("free-field", theory.shape)
    return theory, Model(config, flow, CouplingLine(base, True), couplings), params


def test_the_exact_fields_have_no_residual(free):
    """∂_M² S + ⟨∇S, u⟩ - ∇·u is -∂ log Z, whatever the configuration, at any coupling."""
    theory, model, params = free
    objective = Transport(Problem(model.flow, model.path, model.couplings, 32))
    phi = jax.random.normal(jax.random.key(0), (5, *theory.shape)) * 2
    for mass_squared in (0.5, 1.2, 2.5):
        point = theory.from_values(mass_squared=jnp.float64(mass_squared))
        parts = jax.vmap(lambda x, p=point: objective.residuals(params, x, p))(phi)
        h = 1e-5
        below, above = (theory.log_z(theory.Couplings(mass_squared + d)) for d in (-h, h))
        np.testing.assert_allclose(parts, -(above - below) / (2 * h), rtol=1e-7)


def test_the_exact_fields_carry_to_every_coupling(free):
    """Weights of exact draws are all Z, at every coupling on the way, to the solver's error."""
    theory, model, params = free
    end = double(theory.from_values(mass_squared=2.5))
    times = (0.0, 0.3, 1.0)
    phi, log_weights = model.draw_line(params, jax.random.key(1), end, 50, times)
    assert phi.shape == (3, 50, *theory.shape)
    for t, found in zip(times, log_weights, strict=True):
        exact = theory.log_z(theory.from_values(mass_squared=0.5 + 2 * t))
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6)
    _, at_end = model.draw(params, jax.random.key(1), end, 50)
    np.testing.assert_allclose(at_end, log_weights[2], rtol=0, atol=1e-6)
    back = model.log_weights(params, phi[2], end, 32)
    np.testing.assert_allclose(back, theory.log_z(end), rtol=0, atol=1e-6)


def test_a_grid_is_sorted_onto_lines():
    """Points in one direction from the anchor share a line; each has its time on it."""
    anchor = Anchor(Phi4Couplings(0.0, 0.1, 0.0), Phi4Couplings(0.0, 0.1, 0.0))
    at = Phi4Couplings
    grid = [at(0.5, 0.1, 0.0), at(1.0, 0.1, 0.0), at(0.5, 0.2, 0.0), at(0.25, 0.15, 0.0)]
    lines = anchor.lines(grid)
    assert [list(line) for line in lines] == [[3, 2], [0, 1]] or [list(x) for x in lines] == [
        [0, 1],
        [3, 2],
    ]
    for line in lines:
        assert list(line.values()) == pytest.approx([0.5, 1.0])
        end = grid[list(line)[-1]]
        for place, t in line.items():
            assert anchor.line(t, double(end)) == pytest.approx(grid[place])
    wide = Anchor(at(0.0, 0.1, 0.0), at(0.5, 0.1, 0.0))  # a range: points within it stay
    assert wide.lines([at(0.3, 0.1, 0.0)]) == [{0: 1.0}]
    assert wide.nearest(double(at(0.9, 0.2, 0.0))) == pytest.approx(at(0.5, 0.1, 0.0))


@pytest.fixture(scope="module")
def carried(tmp_path_factory) -> Sampler:
    """A small flow at one point, and fields in m and λ that go on from it, little trained."""
    folder = tmp_path_factory.mktemp("transport")
    still = {"report": lambda *_: None, "interrupted": lambda: False}
    small = {"width": 8, "batch": 64, "x64": True, "steps": 40, "learning_rate": 1e-2}
    plain = {"field": "convolutional", "base": "ultralocal"}  # compiled soonest
    config = Config("phi4", (4,), START._asdict(), ode_steps=8, **small, **plain)
    couplings = START._asdict() | RANGES
    more = {"objective": "transport", "ode_steps": 10, "source": dataclasses.asdict(config)}
    line = Config("phi4", (4,), couplings, **small, **more)
    with jax.numpy_dtype_promotion("standard"):  # optax needs it
        source = Run.create(folder / "source", config)
        train(source, resume=False, **still)
        run = Run.create(folder / "line", line, start=taken_over(line, source))
        train(run, resume=True, **still)
    return Sampler.load(run)


def test_every_point_of_a_line_has_right_weights(carried):
    """log Z and ⟨φ²⟩ at couplings on two lines, from one solution each; 4 σ, 12 numbers."""
    grid = [Phi4Couplings(m, lam, 0.05) for m, lam in [(0.2, 0.2), (0.4, 0.2), (0.4, 0.25)]]
    grid += [Phi4Couplings(0.2, 0.225, 0.05), START, Phi4Couplings(0.0, 0.3, 0.05)]
    for point, ensemble in zip(grid, carried.draw_grid(grid, jax.random.key(3), 4000), strict=True):
        exact, found = TransferMatrix(carried.theory, point), ensemble.measure()
        assert ensemble.couplings == point
        assert found.ess > 0.5
        assert abs(found.log_z.value - exact.log_z) < 4 * found.log_z.stderr < 0.2
        phi2 = found.observables["phi2"]
        assert abs(phi2.value - exact.observables()["phi2"]) < 4 * phi2.stderr < 0.2


def test_a_line_is_drawn_as_its_points_are(carried):
    """The end of a line, drawn alone and with points on the way, from the same random numbers."""
    end = double(Phi4Couplings(0.5, 0.25, 0.05))
    _, alone = carried.model.draw(carried.params, jax.random.key(4), end, 64)
    _, both = carried.model.draw_line(carried.params, jax.random.key(4), end, 64, (0.37, 1.0))
    np.testing.assert_allclose(both[1], alone, rtol=0, atol=1e-4)


def test_around_a_loop_log_z_returns_and_draws_keep_their_law(carried):
    """Exact draws, carried around a closed loop in (m, λ): the mean weight is Z again, and so is
    every reweighted average, though no draw comes back to where it was. 4 σ."""
    theory, model = carried.theory, carried.model
    exact = TransferMatrix(theory, START)
    phi = jnp.asarray(exact.sample(np.random.default_rng(5), 4000))

    def loop(t, couplings):
        angle = 2 * jnp.pi * t
        return couplings._replace(
            m=couplings.m + 0.2 * (1 - jnp.cos(angle)), lam=couplings.lam + 0.06 * jnp.sin(angle)
        )

    start, field = double(START), model.flow.field
    end, change = jax.jit(
        lambda params, phi: carry(field.fields, model.flow, params, phi, loop, start)
    )(carried.params, phi)
    assert np.abs(end - phi).max() > 1e-3
    # e^{-S} at the end over the density there, that of the exact draws carried along
    target = jax.vmap(lambda x: model.path.target(x, start))
    log_ratio = np.asarray(target(phi) - target(end) - change)
    weight = np.exp(log_ratio)
    assert kish_ess(log_ratio) > 0.5
    error = weight.std() / np.sqrt(len(weight))
    assert abs(weight.mean() - 1) < 4 * error < 0.1
    square = np.mean(np.asarray(end) ** 2, axis=1)
    residual = weight * (square - exact.observables()["phi2"])
    assert abs(residual.mean()) < 4 * residual.std() / np.sqrt(len(weight))


def fraction(state):
    """All of every line at once."""
    return state._replace(lines=state.lines._replace(front=jnp.ones_like(state.lines.front)))


def test_trade_sees_that_the_exact_fields_are_right(free):
    """∂_t log q = ⟨∂_t S⟩ - ∂_t S on every draw: no loss to the solver's error, no gradient."""
    _, model, params = free
    objective = Trade(Problem(model.flow, model.path, model.couplings, 128))
    np.testing.assert_array_equal(objective.ends, [[1.0]])  # the other end is where it starts
    state = fraction(objective.init(params, jax.random.key(6)))
    compiled = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    for factor, least, most in ((1.0, 0, 1e-9), (0.9, 1e-4, 1)):
        tried = params._replace(field=jnp.float64(factor))
        value, (_, metrics) = compiled(tried, state, jax.random.key(7), jnp.ones(()))[0]
        assert least <= value < most
        assert (metrics["ess"] > 1 - 1e-9) == (factor == 1.0)


def test_trade_follows_the_derivative_by_the_couplings(carried):
    """Its ∂_t log q is that of Flow.sensitivities, which has it by another way, along the line."""
    model, params = carried.model, carried.params
    objective, end = Trade(Problem.of(model)), double(Phi4Couplings(0.4, 0.25, 0.05))
    state = objective.init(params, jax.random.key(8))
    start = (state.phi[0, :5], state.log_q[0, :5], state.score[0, :5])
    phi, log_q, score = jax.jit(objective._trajectories)(params, start, end)
    place, t = 6, jnp.float64(0.5)
    slope = jax.vmap(lambda x, s: objective._slopes(params, t, x, s, end)[3])
    there = model.path.anchor.line(t, end)
    found, slopes = jax.jit(lambda p, x, c: model.flow.sensitivities(p, x, c, ("m", "lam")))(
        params, phi[place], there
    )
    along = (end.m - START.m) * slopes[0] + (end.lam - START.lam) * slopes[1]
    np.testing.assert_allclose(found, log_q[place], rtol=0, atol=1e-4)
    np.testing.assert_allclose(slope(phi[place], score[place]), along, rtol=0, atol=1e-3)
    assert np.abs(along).mean() > 0.05


def test_lines_begin_with_draws_of_where_the_flow_was_trained_nearest(free):
    """From a flow right at M² = 1 to 1.5 to all of 0.5 … 2.5: right fields have no residual."""
    theory, model, params = free
    anchor = Anchor(theory.from_values(mass_squared=1.0), theory.from_values(mass_squared=1.5))
    modes = jnp.asarray(laplacian_eigenvalues(theory.shape))

    def to_free_field(factor, t, phi, couplings):
        end = modes + couplings.mass_squared
        rate = -0.5 * (end - 1) / ((1 - t) + t * end)
        return factor * filter_modes(rate, phi), factor * jnp.sum(rate)

    source = Flow(White(theory, 1.0), Field(lambda key: jnp.ones(()), to_free_field, True), 48)
    base = FlowBase(theory, source, anchor)
    fields = model.flow.field.fields
    problem = Problem(
        Flow(base, fields.along(anchor.line), 32), CouplingLine(base, True), model.couplings, 512
    )
    objective = Trade(problem)
    first, which = objective.beginnings
    assert (list(first), list(which)) == ([0, 1], [0, 1])
    state = objective.init(params, jax.random.key(15))
    assert state.phi.shape == (2, 2048, *theory.shape)
    for phi, mass_squared in zip(state.phi, (1.0, 1.5), strict=True):  # from below, from above
        variance = 1 / (2 * (np.asarray(modes) + mass_squared))
        power = np.abs(np.fft.fftn(phi, axes=(1, 2), norm="ortho")) ** 2
        mean, size = np.mean(power / variance), len(phi) * theory.sites
        assert abs(mean - 1) < 4 * np.sqrt(2 / size)
    value, (_, metrics) = jax.jit(objective.loss)(
        params, fraction(state), jax.random.key(16), jnp.ones(())
    )
    assert 0 <= value < 1e-9 and metrics["ess"] > 1 - 1e-9


def test_trade_ends_lie_on_the_surface_of_the_box(carried):
    ends = Trade(Problem.of(carried.model)).ends
    assert ends.shape == (32, 2) and np.abs(ends - 0.5).max(axis=1) == pytest.approx(0.5)
    corner = (ends > 0.5) @ [1, 2]
    assert np.bincount(corner).min() >= 6  # all quarters of it


def test_units_grow_as_the_modes_of_the_draws_do(carried):
    """⟨w, s + ∇S⟩ where s + ∇S is the same everywhere, with w by numpy from the velocities."""
    model, params = carried.model, carried.params
    objective, theta = Trade(Problem.of(model)), double(Phi4Couplings(0.4, 0.25, 0.05))
    rng = np.random.default_rng(11)
    phi = jnp.asarray(rng.normal(0.5, 1, (6, *carried.theory.shape)))
    velocity = jnp.asarray(rng.normal(0, 1, phi.shape)) + 0.7 * phi
    direction = jnp.asarray(rng.normal(0, 1, phi.shape[1:]))
    t = jnp.float64(0.5)
    force = jax.vmap(lambda x: jax.grad(model.path.energy, argnums=2)(params, t, x, theta))(phi)
    found = objective._growth(params, theta, t, phi, direction[None] - force, velocity)
    modes, flowing = (np.fft.fftn(np.asarray(x), axes=(1,)) for x in (phi, velocity))
    growth = (modes.conj() * flowing).real.mean(0) / (np.abs(modes) ** 2).mean(0)
    w = np.fft.ifftn(growth * modes, axes=(1,)).real
    np.testing.assert_allclose(found, w @ np.asarray(direction), rtol=1e-9, atol=1e-9)


def test_front_moves_out_where_weights_are_good_and_back_where_not(carried):
    objective, params = Trade(Problem.of(carried.model)), carried.params
    state = objective.init(params, jax.random.key(12))
    loss = jax.jit(objective.loss)
    for key in jax.random.split(jax.random.key(13), 3):
        _, (state, metrics) = loss(params, state, key, jnp.ones(()))
    moved = np.asarray(state.lines.front)
    assert metrics["ess_at_front"] > 0.9 and moved.max() > 0.02
    assert np.sum(moved > 0.02) <= 12 and moved.max() <= 0.02 + 3 * 0.002 + 1e-12
    broken = params._replace(field=jax.tree.map(lambda x: x + 0.1, params.field))
    for key in jax.random.split(jax.random.key(14), 3):
        _, (state, metrics) = loss(broken, fraction(state), key, jnp.ones(()))
    assert metrics["ess_at_front"] < 0.5
    assert np.min(state.lines.front) < 1
