"""Cluster flips: the Ising weights of the signs, enumerated, are kept and reached."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from lattice_flows.mcmc.clusters import flip_cluster
from theories.lattice import neighbour_sum

FALSE_ALARM = 1e-4
COUPLING = 0.4


def ising(magnitudes):
    """All sign patterns (2^V, *shape) and their probabilities ∝ e^{J Σ φ_x φ_y}."""
    signs = np.array(list(product([-1.0, 1.0], repeat=magnitudes.size)))
    signs = signs.reshape(-1, *magnitudes.shape)
    phi = jnp.asarray(signs * magnitudes)
    bonds = 0.5 * jax.vmap(lambda x: jnp.sum(x * neighbour_sum(x)))(phi)
    weights = np.exp(COUPLING * np.asarray(bonds))
    return signs, weights / weights.sum()


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
@pytest.mark.parametrize("begin", ["in equilibrium", "far from it"])
def test_the_bonds_density_is_kept_and_reached(shape, begin, rng):
    """A χ² test over all sign patterns: 1 false alarm in 10,000."""
    magnitudes = rng.uniform(0.3, 1.5, size=shape)
    signs, probabilities = ising(magnitudes)
    n, flips = 20_000, 1 if begin == "in equilibrium" else 40
    ordered = np.full(n, len(signs) - 1)
    start = rng.choice(len(signs), n, p=probabilities) if flips == 1 else ordered
    phi = jnp.asarray(signs[start] * magnitudes)

    @jax.jit
    @jax.vmap
    def run(key, x):
        keys = jax.random.split(key, flips)
        return jax.lax.scan(lambda x, k: (flip_cluster(k, x, COUPLING), None), x, keys)[0]

    moved = np.asarray(run(jax.random.split(jax.random.key(1), n), phi))
    np.testing.assert_array_equal(np.abs(moved), np.broadcast_to(magnitudes, moved.shape))
    assert np.all(np.any(moved != phi, axis=tuple(range(1, moved.ndim)))) or flips > 1
    patterns = ((moved > 0).reshape(n, -1) @ 2 ** np.arange(magnitudes.size)[::-1]).astype(int)
    counts = np.bincount(patterns, minlength=len(signs))
    likely = probabilities * n > 5
    observed = [*counts[likely], counts[~likely].sum()]
    expected = [*(probabilities[likely] * n), probabilities[~likely].sum() * n]
    keep = np.asarray(expected) > 0
    assert scipy.stats.chisquare(np.array(observed)[keep], np.array(expected)[keep]).pvalue > (
        FALSE_ALARM
    )


def test_without_bonds_one_site_with_strong_bonds_its_whole_domain():
    phi = jnp.asarray([[1.0, 2.0, -1.0, -2.0], [1.0, 1.0, 1.0, -3.0]])
    for seed in range(10):
        key = jax.random.key(seed)
        assert np.sum(flip_cluster(key, phi, 0.0) != phi) == 1
        flipped = np.asarray(flip_cluster(key, phi, 1e3) != phi)
        assert np.array_equal(flipped, phi > 0) or np.array_equal(flipped, phi < 0)
