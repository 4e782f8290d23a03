"""The embedded-cluster move: flip a connected domain (Wolff; Brower & Tamayo, PRL 62, 1087).

Given |φ| the signs of a lattice field are an Ising model with the couplings J|φ_x φ_y|, where
e^{-E} ∝ e^{-R} Π_{bonds} e^{J φ_x φ_y}. A cluster grown from a random site through bonds that are
open with probability 1 - e^{-2J φ_x φ_y} (where φ_x φ_y > 0) keeps the bonds' part of the density
under being flipped; what is left, R, is put right by Metropolis: the flip is accepted with
probability min(1, e^{R - R'}). Domain walls are thereby made and removed in one move, which a
Langevin move would have to take over a barrier.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool

from theories.shapes import Array, Configuration, Scalar


def flip_cluster(key: jax.Array, phi: Configuration, coupling: Scalar | float) -> Configuration:
    """One configuration with one of its clusters flipped; J = `coupling` ≥ 0."""
    bond_key, seed_key = jax.random.split(key)
    axes = range(phi.ndim)
    levels = jax.random.uniform(bond_key, (phi.ndim, *phi.shape), phi.dtype)
    products = jnp.stack([phi * jnp.roll(phi, -1, axis) for axis in axes])
    is_open = levels < -jnp.expm1(-2 * coupling * products)
    seed = jax.random.randint(seed_key, (), 0, phi.size)
    cluster = (jnp.arange(phi.size) == seed).reshape(phi.shape)

    def grown(cluster: Bool[Array, "*shape"]) -> Bool[Array, "*shape"]:
        for axis in axes:  # is_open[axis] at x is the bond from x to x + 1
            forward = jnp.roll(cluster & is_open[axis], 1, axis)
            cluster = cluster | forward | (jnp.roll(cluster, -1, axis) & is_open[axis])
        return cluster

    def grow(pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return pair[1], grown(pair[1])

    pair = (cluster, grown(cluster))
    cluster = jax.lax.while_loop(lambda pair: jnp.any(pair[0] != pair[1]), grow, pair)[1]
    return jnp.where(cluster, -phi, phi)
