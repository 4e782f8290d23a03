"""Evaluation points: weighted trajectories follow p_t, exchanges leave it alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import White, linear_setting

from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.fields import Field, time_network
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import LinearPath
from lattice_flows.mcmc import walkers as annealed
from lattice_flows.mcmc.walkers import Walkers
from lattice_flows.training.objectives import OBJECTIVES
from lattice_flows.training.points import SOURCES
from theories import FreeField
from theories.lattice import filter_modes, laplacian_eigenvalues

OPEN = jnp.float64(1.0)
START, MASS_SQUARED = 1.5, 0.4
THEORY = FreeField((4,))
MODES = jnp.asarray(laplacian_eigenvalues((4,))) + MASS_SQUARED


def problem(points: str, **more):
    """To the free field on the linear path; the field's parameter multiplies the exact one."""

    def apply(factor, t, phi, couplings):
        rate = -0.5 * (MODES - START) / ((1 - t) * START + t * MODES)
        return factor * filter_modes(rate, phi), factor * jnp.sum(rate)

    flow = Flow(White(THEORY, START), Field(lambda key: jnp.ones(()), apply, odd=True), 8)
    given = Couplings(THEORY.from_values(mass_squared=MASS_SQUARED), {})
    return linear_setting(flow, given, 16 * 4000, points=points, **more)


def pulls(phi2, t) -> np.ndarray:
    """How many errors of 4000 exact draws ⟨φ²⟩ is off at each time."""
    t = np.asarray(t)[:, None]
    variances = 0.5 / ((1 - t) * START + t * np.asarray(MODES))
    errors = np.sqrt(2 * np.sum(variances**2, axis=1) / 4000) / len(MODES)
    return np.abs(np.asarray(phi2) - variances.mean(axis=1)) / errors


@pytest.mark.parametrize(
    ("points", "weighted"), [("trajectories", True), ("particles", False), ("trajectories", False)]
)
def test_weighted_trajectories_follow_the_path_whatever_the_flow(points, weighted):
    """⟨φ²⟩ at 16 times with 0.6 of the exact velocity, within 5 errors of 4000 draws.

    Unweighted trajectories are many errors off. The midpoint steps' own error is well below.
    """
    made = problem(points, weighted=weighted)
    source = SOURCES[points](made)
    draw = jax.jit(source.draw)
    at, _, metrics = draw(Params((), jnp.float64(0.6)), (), jax.random.key(1), OPEN)
    assert at.phi.shape == (16, 4000, 4) and at.t[0] == 0 and at.t[-1] == 1
    np.testing.assert_allclose(at.reference.sum(axis=1), 1, rtol=1e-9)
    assert float(at.weight.sum()) == pytest.approx(1)
    found = np.sum(at.reference * np.mean(at.phi**2, axis=2), axis=1)
    off = pulls(found, at.t)
    assert metrics["ess"] <= 1 + 1e-9
    if points == "trajectories" and not weighted:
        assert off[-1] > 8
    else:
        assert off.max() < 5 / np.sqrt(float(metrics["ess"]))


def test_the_exact_flow_has_equal_weights():
    source = SOURCES["trajectories"](problem("trajectories", weighted=True))
    _, _, metrics = jax.jit(source.draw)(Params((), jnp.float64(1.0)), (), jax.random.key(1), OPEN)
    assert metrics["ess"] == pytest.approx(1, abs=2e-4)  # midpoint steps


def test_exchanges_keep_every_group_where_it_is():
    """Five groups of exact draws of p_t, out of order in t: the same ⟨φ²⟩ after 10 exchanges.

    Within 4.5 errors of 4000 draws a group; most configurations have changed their group.
    """
    rng = np.random.default_rng(5)
    t = np.array([0.4, 0.0, 1.0, 0.75, 0.2])
    precision = 2 * ((1 - t)[:, None] * START + t[:, None] * np.asarray(MODES))
    noise = np.fft.fft(rng.normal(size=(5, 4000, 4)))
    phi = jnp.asarray(np.fft.ifft(noise / np.sqrt(precision)[:, None]).real)
    made = problem("walkers")
    path = LinearPath(made.flow.base, even=False)
    walkers = Walkers(phi, jnp.asarray(t), jnp.zeros((5, 0)), jnp.zeros(5))
    exchange = jax.jit(
        lambda key, walkers: annealed.exchange(path, Params(()), key, made.couplings, walkers)
    )
    for key in jax.random.split(jax.random.key(3), 10):
        walkers = exchange(key, walkers)
    found = np.mean(np.asarray(walkers.phi) ** 2, axis=(1, 2))
    assert pulls(found, t).max() < 4.5
    assert np.mean(np.asarray(walkers.phi == phi).all(axis=2)) < 0.5
    assert set(np.ravel(walkers.phi)) == set(np.ravel(phi))


def test_a_network_for_the_constant_is_trained_with_the_field():
    made = problem("trajectories", constant="network")
    network = time_network(THEORY, {})
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    constant = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.5, x.shape)), shapes)
    objective = OBJECTIVES["deformation"](made)

    def loss(constant):
        params = Params((), jnp.float64(1.0), (), constant)
        return objective.loss(params, (), jax.random.key(2), OPEN)[0]

    value, slope = jax.jit(jax.value_and_grad(loss))(constant)
    assert value > 1e-3  # the exact field with a wrong C_t
    assert all(np.abs(x).max() > 1e-6 for x in jax.tree.leaves(slope))


def test_wide_points_are_those_of_both_and_walkers_of_a_stretched_mean():
    """They have the weights of own points: none for C_t. What fluctuates about the mean is kept."""
    made = problem("stretched")
    params = Params((), jnp.float64(1.0))
    groups = 4000
    phi = jax.random.normal(jax.random.key(2), (groups, 12, 4))  # of no need to follow p_t
    state = Walkers(phi, jnp.linspace(0, 1, groups), jnp.zeros((groups, 0)), jnp.zeros(groups))
    found = {}
    for points in ("mixed", "stretched"):
        draw = jax.jit(SOURCES[points](made).draw)
        found[points] = draw(params, state, jax.random.key(3), OPEN)[0]
    both, wide = found["mixed"], found["stretched"]
    count = both.phi.shape[1]
    np.testing.assert_allclose(wide.phi[:, :count], both.phi, rtol=0, atol=1e-12)
    np.testing.assert_allclose(wide.reference[:, :count], both.reference, rtol=1e-9)
    added = np.asarray(wide.phi[:, count:])
    assert added.shape[1] == 4 and not np.any(wide.reference[:, count:])
    assert abs(np.sum(wide.weight) - 1) < 0.1
    walkers = np.asarray(both.phi[:, :4])
    means, stretched = (x.mean(axis=-1, keepdims=True) for x in (walkers, added))
    np.testing.assert_allclose(added - stretched, walkers - means, rtol=0, atol=1e-12)
    factors = (stretched / means).ravel()
    assert 1 <= factors.min() < 1.1 and 2.4 < factors.max() <= 2.5
    np.testing.assert_allclose(factors.mean(), 1.75, atol=0.02)
