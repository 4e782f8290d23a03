"""TRADE with a loss at the boundary, and its parts: an exact flow, hand computation, whole runs."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import White, double, linear_setting, random_params
from scipy.stats import kstest

from lattice_flows.flows.continuation import Anchor
from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.fields import Field
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.model import build
from lattice_flows.flows.params import Params
from lattice_flows.runs.config import Config
from lattice_flows.training.objectives import OBJECTIVES
from lattice_flows.training.objectives.conditioned_trade import ConditionedTrade
from lattice_flows.training.objectives.likelihood import Likelihood
from lattice_flows.training.objectives.lines import Average, average, causal, lines
from lattice_flows.training.problem import Problem
from theories import FreeField, Phi4Hopping, TransferMatrix, TwoGaussians, make
from theories.lattice import filter_modes, laplacian_eigenvalues

OPEN, START = jnp.float64(1.0), 1.5
EXACT = Params((), jnp.ones(()))


def gaussian(boundary: str, batch: int = 64):
    """The exact flow to free fields of M² from 0.4 to 1, trained at 0.4; a factor multiplies it.

    f_t = Σ_k A_k(t)|φ_k|² with A_k = (1-t)a + t(k̂² + M²), so V_k = -½ (A_k'/A_k) φ_k.
    """
    theory = FreeField((3,))
    momenta = jnp.asarray(laplacian_eigenvalues(theory.shape))

    def apply(factor, t, phi, couplings):
        modes = momenta + couplings.mass_squared
        rate = -0.5 * (modes - START) / ((1 - t) * START + t * modes)
        return factor * filter_modes(rate, phi), factor * jnp.sum(rate)

    field = Field(lambda key: jnp.ones(()), apply, odd=True)
    at = theory.from_values(mass_squared=0.4)
    return linear_setting(
        Flow(White(theory, START), field, 24),
        Couplings(at, {"mass_squared": (0.4, 1.0)}),
        batch,
        trained=Couplings(at, {}),
        anchor=Anchor(at, at),
        boundary=boundary,
    )


@pytest.mark.parametrize(
    "boundary",
    ["deformation", *(pytest.param(x, marks=pytest.mark.slow) for x in ("samples", "reverse-kl"))],
)
def test_an_exact_flow_has_no_residual_and_is_left_alone(boundary):
    objective = OBJECTIVES["trade"](gaussian(boundary))
    assert isinstance(objective, ConditionedTrade)
    np.testing.assert_array_equal(objective.lines, [[[0.0]], [[1.0]]])
    state = objective.init(EXACT, jax.random.key(0))
    run = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    (_, (state, metrics)), slope = run(EXACT, state, jax.random.key(1), OPEN)
    assert 0 <= metrics["residual"] < 1e-12 and metrics["ess"] > 1 - 1e-6
    if boundary == "deformation":
        # stationary draw by draw; the likelihood and reverse KL are so in the mean over draws
        assert abs(slope.field) < 1e-3
    else:  # what TRADE itself teaches is none of the boundary's; compiled once more
        taught = jax.jit(jax.grad(lambda p: objective._residuals(p, state, jax.random.key(1))[0]))
        assert abs(taught(EXACT).field) < 1e-6
    wrong = EXACT._replace(field=jnp.asarray(0.8))
    (_, (_, metrics)), slope = run(wrong, state, jax.random.key(2), OPEN)
    assert metrics["residual"] > 1e-3 and slope.field < -0.05


def mixture(boundary: str = "reverse-kl"):
    """A random flow of gmm-2 over β, as a run that goes on from one at β = 1 has it."""
    source = Config("gmm-2", (2,), base_width=6.0, width=5, ode_steps=8)
    config = Config(
        "gmm-2",
        (2,),
        {"beta": (0.5, 1.5)},
        objective="trade",
        boundary=boundary,
        source=dataclasses.asdict(source),
        base_width=6.0,
        width=5,
        ode_steps=8,
        batch=64,
    )
    model = build(config)
    return model, Params((), random_params(model.flow.field, 0.3, seed=2))


def test_the_gradient_is_that_of_both_terms_balanced():
    """Of each alone by reverse mode, weighed by the ratio of their norms."""
    model, params = mixture()
    objective = ConditionedTrade.with_boundary(Problem.of(model))
    state, key = objective.init(params, jax.random.key(0)), jax.random.key(1)
    (value, (after, metrics)), found = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))(
        params, state, key, OPEN
    )
    boundary_key, key = jax.random.split(key)
    there = jax.jit(jax.grad(lambda p: objective.boundary.loss(p, (), boundary_key, OPEN)[0]))(
        params
    )
    along = jax.jit(jax.grad(lambda p: objective._residuals(p, state, key)[0]))(params)
    flat, _ = jax.flatten_util.ravel_pytree(found.field)
    there, along = (jax.flatten_util.ravel_pytree(g.field)[0] for g in (there, along))
    ratio = jnp.linalg.norm(there) / jnp.linalg.norm(along)
    np.testing.assert_allclose(metrics["balance"], ratio, rtol=1e-9)
    np.testing.assert_allclose(flat, there + ratio * along, rtol=1e-8, atol=1e-10)
    expected = metrics["boundary"] + ratio * metrics["residual"]
    assert value == pytest.approx(float(expected), rel=1e-12)
    assert after.epsilon < state.epsilon


def test_the_residual_is_the_slope_in_the_couplings():
    """At one point: central differences of log q and of S along the line, at fixed draws."""
    model, params = mixture()
    objective = ConditionedTrade.with_boundary(Problem.of(model))
    start, end = (jnp.asarray(x[0]) for x in objective.lines)
    key, t, h = jax.random.key(3), jnp.float64(0.4), 1e-4
    none = Average(jnp.zeros(()), jnp.zeros(()))
    loss, _, ess = jax.jit(objective._point)(params, key, start, end, t, none)
    log_beta = np.log([0.5, 1.5])
    place = start + t * (end - start)

    def theta(moved):
        position = (place + moved * (end - start))[0]
        return double(model.couplings.fixed)._replace(
            beta=jnp.exp(log_beta[0] + position * (log_beta[1] - log_beta[0]))
        )

    phi, log_q = model.flow.sample(params, key, theta(0.0), 16)
    theory = model.flow.base.theory

    def excess(moved):
        action = jax.vmap(lambda x: theory.action(x, theta(moved)))(phi)
        return action + model.flow.log_prob(params, phi, theta(moved))

    slope = np.asarray(excess(h) - excess(-h)) / (2 * h)
    log_w = -np.asarray(jax.vmap(lambda x: theory.action(x, theta(0.0)))(phi)) - log_q
    weights = np.exp(log_w - log_w.max())
    weights /= weights.sum()
    assert ess == pytest.approx(1 / np.sum(weights**2) / 16, rel=1e-8)
    centre = np.sum(weights * slope) if ess > 0.1 else slope.mean()
    capped = np.minimum(weights, 5 / 16)
    expected = np.sum(capped * (np.sqrt(1 + (slope - centre) ** 2) - 1))
    assert loss == pytest.approx(expected, rel=1e-5) and expected > 1e-3


def test_lines_lead_from_where_a_flow_was_trained_to_the_ends_of_the_ranges():
    theory = TwoGaussians()
    both = Couplings(theory.from_values(), {"beta": (0.25, 4.0)})
    one = theory.from_values(beta=1.0)
    begin, end = lines(both, Anchor(one, one))
    np.testing.assert_allclose(begin, [[0.5], [0.5]])  # evenly in log β
    np.testing.assert_allclose(end, [[0.0], [1.0]])
    begin, end = lines(both, Anchor(one, theory.from_values(beta=4.0)))
    np.testing.assert_allclose([begin, end], [[[0.5]], [[0.0]]])
    phi4 = make("phi4", (4,))
    box = Couplings(phi4.from_values(), {"m": (0.0, 1.0), "lam": (0.1, 0.3)})
    at = phi4.from_values(m=0.25, lam=0.2)
    begin, end = lines(box, Anchor(at, at))
    assert begin.shape == end.shape == (32, 2)
    np.testing.assert_allclose(begin, np.tile([0.25, 0.5], (32, 1)))
    np.testing.assert_allclose(np.abs(end - 0.5).max(axis=1), 0.5)
    # of a box that the flow was trained on but for m above 0.75, lines lead there alone
    begin, end = lines(
        box, Anchor(phi4.from_values(m=0.0, lam=0.1), phi4.from_values(m=0.75, lam=0.3))
    )
    assert 4 < len(begin) < 32 and np.all(end[:, 0] > 0.75)
    np.testing.assert_allclose(begin, np.stack([np.full(len(end), 0.75), end[:, 1]], axis=1))


def test_places_are_the_inverse_of_couplings():
    theory = TwoGaussians()
    couplings = Couplings(theory.from_values(), {"beta": (0.2, 5.0)})
    for position in (0.0, 0.3, 1.0):
        point = couplings.at(jnp.asarray([position]))
        np.testing.assert_allclose(point.beta, 0.2 * 25**position, rtol=1e-12)
        np.testing.assert_allclose(couplings.position(point), [position], atol=1e-12)


def test_averages_run_on_where_the_weights_are_good_and_wait_where_not(rng):
    values, known = jnp.asarray(rng.normal(size=50)), Average(jnp.float64(2.0), jnp.float64(30.0))
    level = jnp.zeros(50)
    centre, kept, ess = average(level, values, known)
    expected = (0.9 * 30 * 2.0 + 50 * values.mean()) / (0.9 * 30 + 50)
    np.testing.assert_allclose([centre, kept.mean, kept.count], [expected, expected, 77])
    assert ess == pytest.approx(1)
    centre, kept, ess = average(level.at[0].set(30.0), values, known)
    assert (kept.mean, kept.count) == (2.0, 30.0) and ess < 0.03
    assert centre == pytest.approx(float(values.mean()))


def test_a_point_counts_after_what_lies_before_it():
    losses = jnp.asarray([[0.5, 0.25, 0.0], [0.0, 1.0, 1.0]])
    expected = np.exp(-2 * np.array([[0, 0.5, 0.75], [0, 0, 1]]))
    np.testing.assert_allclose(causal(losses, jnp.float64(2.0)), expected)


# maximum likelihood


def test_likelihood_is_the_mean_of_log_q_over_draws():
    """In all it is the cross-entropy: over the draws, by the flow run backwards."""
    model, params = mixture()
    problem = Problem.of(model)
    problem = dataclasses.replace(problem, couplings=problem.trained, batch=4096)
    objective = Likelihood.with_draws(problem)
    assert objective.draws.shape == (1, 16384, 2)
    value, _ = jax.jit(objective.loss)(params, (), jax.random.key(4), OPEN)
    theta = double(problem.couplings.fixed)
    log_q = np.asarray(model.flow.log_prob(params, jnp.asarray(objective.draws[0]), theta))
    assert abs(value + log_q.mean()) < 4.5 * log_q.std() / np.sqrt(4096)
    exact = TwoGaussians().exact(problem.couplings.fixed)
    shares = TwoGaussians().modes(objective.draws[0]).mean(axis=0)
    np.testing.assert_allclose(shares[0], exact.observables()["mode_1"], atol=4.5 / 2 / 128)


def test_draws_are_of_chains_where_nothing_is_exact():
    """On 2x2 sites, at several couplings: the field at one site against a long chain of them."""
    theory = Phi4Hopping((2, 2))
    couplings = Couplings(theory.from_values(lam=0.02), {"kappa": (0.1, 0.2)})
    field = Field(lambda key: jnp.zeros(()), lambda p, t, x, c: (0 * x, 0 * p), odd=True)
    problem = linear_setting(Flow(White(theory, 1.0), field, 2), couplings, 64)
    objective = Likelihood.with_draws(problem)
    assert objective.positions.shape == (16, 1) and objective.draws.shape == (16, 1024, 2, 2)
    # ⟨φ²⟩ rises with κ, and so it must over the data
    size = np.mean(objective.draws**2, axis=(1, 2, 3))
    assert np.corrcoef(size, objective.positions[:, 0])[0, 1] > 0.8
    loss, _ = jax.jit(objective.loss)(Params((), jnp.zeros(())), (), jax.random.key(5), OPEN)
    # White: log q = -φ² - 2 log π in all, for any draws
    assert loss == pytest.approx(4 * size.mean() + 2 * np.log(np.pi), rel=0.2)


def test_exact_draws_of_a_chain_follow_the_transfer_matrix():
    """Kolmogorov-Smirnov at a false-alarm rate of 10⁻⁴."""
    theory = make("phi4", (4,))
    couplings = Couplings(theory.from_values(m=0.5), {})
    field = Field(lambda key: jnp.zeros(()), lambda p, t, x, c: (0 * x, 0 * p), odd=True)
    problem = linear_setting(Flow(White(theory, 1.0), field, 2), couplings, 64)
    draws = Likelihood.with_draws(problem).draws[0]
    others = TransferMatrix(theory, couplings.fixed).sample(np.random.default_rng(9), 4000)
    assert kstest(draws[:4000].mean(axis=1), others.mean(axis=1)).pvalue > 1e-4
