"""Walkers: they follow p_t at every flow time and at all couplings at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import double

from lattice_flows.flows.base import Ultralocal
from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import LinearPath
from lattice_flows.mcmc import walkers as annealed
from lattice_flows.mcmc.walkers import Walkers
from theories import Phi4, TransferMatrix

FALSE_ALARM = 1e-4


NOTHING = Params(())


def made(shape, alpha=0.0, curvature=0.5):
    theory = Phi4(shape)
    path = LinearPath(Ultralocal(theory, curvature))
    return theory, path, Couplings(theory.from_values(m=0.6, alpha=alpha), {"m": (0.25, 1.0)})


# the path


def test_the_path_joins_base_and_target(rng):
    theory, path, given = made((2, 3), alpha=0.2)
    couplings = given.at(jnp.asarray([0.5]))
    phi, t = jnp.asarray(rng.normal(size=(2, 3))), jnp.float64(0.3)
    base = float(path.base.energy((), phi, couplings))
    plus, minus = (float(theory.action(sign * phi, couplings)) for sign in (1, -1))
    target = -np.log((np.exp(-plus) + np.exp(-minus)) / 2)
    assert path.energy(NOTHING, t, phi, couplings) == pytest.approx(0.7 * base + 0.3 * target)
    assert path.rate(NOTHING, t, phi, couplings) == pytest.approx(target - base)
    slope = jax.grad(lambda t: path.energy(NOTHING, t, phi, couplings))(t)
    assert path.rate(NOTHING, t, phi, couplings) == pytest.approx(float(slope))


def test_places_are_couplings():
    _, _, given = made((2,))
    for position, fraction, m in [
        (0.0, 1.0, 0.25),
        (1.0, 1.0, 1.0),
        (0.4, 1.0, 0.55),
        (1.0, 0.2, 0.4),
    ]:
        couplings = given.at(jnp.asarray([position]), fraction)
        assert couplings.m == pytest.approx(m)
        assert couplings.lam == 1 / 16 and couplings.m.dtype == jnp.float64


# where they end


@pytest.fixture(scope="module")
def at_the_target():
    """A population annealed to t = 1 at three couplings at once, and the acceptance there."""
    theory, path, given = made((4,), alpha=0.1)

    @jax.jit
    def anneal(key):
        keys = jax.random.split(key, 3)
        walkers = annealed.start(path, NOTHING, keys[0], given, 3, 1500)
        walkers = walkers._replace(position=jnp.asarray([[0.0], [0.5], [1.0]]))
        # the base does not depend on m: these draws are exact at the new positions, too
        walkers = annealed.anneal(path, NOTHING, keys[1], given, walkers, jnp.ones(3), 400)
        return annealed.move(path, NOTHING, keys[2], given, walkers)

    return theory, given, *anneal(jax.random.key(5))


@pytest.mark.parametrize("group", [0, 1, 2])
def test_they_end_in_the_target_at_their_own_coupling(at_the_target, group):
    """⟨φ²⟩, ⟨M²⟩, ⟨φ⁴⟩ against the transfer matrix, within 4 errors: 1 false alarm in 5,000."""
    theory, given, walkers, _ = at_the_target
    m = float(given.at(walkers.position[group]).m)
    exact = TransferMatrix(theory, theory.from_values(m=m, alpha=0.1))
    phi = np.asarray(walkers.phi[group])
    assert walkers.t[group] == 1
    for values, answer in (
        ((phi**2).mean(1), exact.moment(2)),
        (phi.mean(1) ** 2, exact.magnetization_squared),
        ((phi**4).mean(1), exact.moment(4)),
    ):
        assert abs(values.mean() - answer) < 4 * values.std() / np.sqrt(len(values))
    assert abs(np.mean(phi.mean(1) > 0) - 0.5) < 4.5 * 0.5 / np.sqrt(len(phi))  # signs are even


def test_steps_adapt_to_the_acceptance(at_the_target):
    np.testing.assert_allclose(at_the_target[3], 0.6, atol=0.05)


# moves


def moments_in_the_plane(path, couplings, t):
    """⟨φ²⟩, ⟨φ₁φ₂⟩, ⟨φ⁴⟩ under p_t of two sites, by the trapezoid rule, and the nodes' weights."""
    axis = np.linspace(-6.5, 6.5, 201)
    nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    energies = jax.vmap(lambda x: path.energy(NOTHING, t, x, couplings))(jnp.asarray(nodes))
    weights = np.exp(-np.asarray(energies))
    weights /= weights.sum()
    x, y = nodes.T
    return nodes, weights, [weights @ f for f in (x * x, x * y, x**4)]


@pytest.fixture(scope="module")
def move_20_times():
    """20 moves of walkers on two sites, their times, positions and steps held fixed."""
    _, path, given = made((2,), alpha=0.3)

    @jax.jit
    def move(walkers, key):
        def step(moved, key):
            moved, acceptance = annealed.move(path, NOTHING, key, given, moved)
            return moved._replace(log_step=walkers.log_step), acceptance

        return jax.lax.scan(step, walkers, jax.random.split(key, 20))

    return move


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("log_step", [-2.0, 1.5])
def test_moves_keep_the_density_they_find(move_20_times, t, log_step, rng):
    """From draws of p_t, after 20 moves at a fixed step, small or far too large, still p_t.

    Three moments within 4 errors: 1 false alarm in 5,000. Langevin moves without Metropolis, or
    with a wrong reverse density, fail at the large step.
    """
    _, path, given = made((2,), alpha=0.3)
    couplings = given.at(jnp.asarray([0.5]))
    nodes, weights, exact = moments_in_the_plane(path, couplings, jnp.float64(t))
    n = 10_000
    start = nodes[rng.choice(len(nodes), n, p=weights)]
    walkers = Walkers(
        jnp.asarray(start)[None], jnp.asarray([t]), jnp.asarray([[0.5]]), jnp.asarray([log_step])
    )

    moved, acceptance = move_20_times(walkers, jax.random.key(2))
    assert np.all(acceptance > 0.9) if log_step < 0 else np.all(acceptance < 0.7)
    x, y = np.asarray(moved.phi[0]).T
    assert np.mean(np.any(np.abs(moved.phi[0]) != np.abs(start), axis=1)) > 0.8
    # the sign is drawn anew in each move, whatever the wells
    same = np.sum(np.asarray(moved.phi[0]) * start, axis=1) > 0
    assert abs(same.mean() - 0.5) < 4.5 * 0.5 / np.sqrt(n)
    for values, answer in zip((x * x, x * y, x**4), exact, strict=True):
        assert abs(values.mean() - answer) < 4 * values.std() / np.sqrt(n)


def test_times_and_places_wander_uniformly():
    """A reflected walk from uniform draws stays uniform, within [0, 1], and goes everywhere."""
    groups = 1000
    rng = np.random.default_rng(4)
    walkers = Walkers(
        jnp.zeros((groups, 1, 2)),
        jnp.asarray(rng.uniform(size=groups)),
        jnp.asarray(rng.uniform(size=(groups, 2))),
        jnp.zeros(groups),
    )

    @jax.jit
    def walk(walkers, key):
        keys = jax.random.split(key, 2000)
        return jax.lax.scan(lambda w, k: (annealed.random_walk(k, w), w.t), walkers, keys)

    walked, times = walk(walkers, jax.random.key(6))
    assert times.min() >= 0 and times.max() <= 1
    for values, before in (
        (walked.t, walkers.t),
        (walked.position[:, 0], walkers.position[:, 0]),
        (walked.position[:, 1], walkers.position[:, 1]),
    ):
        assert scipy.stats.kstest(values, "uniform").pvalue > FALSE_ALARM
        assert len(np.unique(values)) == groups  # nothing sticks to an end
        # after 2000 steps of 0.02 (a spread of 0.9) hardly anything is left of the beginning
        assert abs(np.corrcoef(values, before)[0, 1]) < 0.15
    assert abs(np.corrcoef(walked.t, walked.position[:, 0])[0, 1]) < 0.14
    np.testing.assert_allclose(np.diff(times[:, 0]).std(), 0.02, rtol=0.15)
    np.testing.assert_array_equal(walked.phi, walkers.phi)


def test_walkers_begin_as_draws_of_the_base(seed):
    _, path, given = made((3,), curvature=0.5)
    walkers = annealed.start(path, NOTHING, jax.random.key(seed), given, 40, 100)
    assert walkers.phi.shape == (40, 100, 3) and np.all(walkers.t == 0)
    assert len(np.unique(walkers.phi)) == walkers.phi.size
    assert scipy.stats.kstest(walkers.position[:, 0], "uniform").pvalue > FALSE_ALARM
    x = np.linspace(-8, 8, 4001)
    density = np.exp(-(x**4) / 16 - 0.5 * x**2 / 4)  # c = ½√λ
    cdf = np.cumsum(density) / density.sum()
    assert scipy.stats.kstest(np.ravel(walkers.phi), lambda y: np.interp(y, x, cdf)).pvalue > 1e-4


def test_couplings_in_float64():
    theory, _, given = made((3,))
    assert double(theory.from_values(m=0.625, alpha=0.0)) == given.at(jnp.asarray([0.5]))
