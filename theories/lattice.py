"""Geometry of the periodic lattice: bonds, distances, momenta and the point group.

A lattice is its `shape`, e.g. (16,) for the cycle graph or (8, 8) for a torus; a configuration is
an array of that shape and its sites are the indices. Everything is periodic.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from .shapes import Array, Configuration, Scalar


class PointGroupElement(NamedTuple):
    """A rotation or reflection about the origin: permute the axes, then reverse some of them."""

    permutation: tuple[int, ...]
    reversed_axes: tuple[int, ...]


def bond_energy(phi: Configuration) -> Scalar:
    """Σ_{x,μ} (φ_x - φ_{x+μ})², one bond for every site and direction."""
    import jax.numpy as jnp

    differences = (phi - jnp.roll(phi, -1, axis) for axis in range(phi.ndim))
    return jnp.asarray(sum(jnp.sum(difference * difference) for difference in differences))


def neighbour_sum(phi: Configuration) -> Configuration:
    """Σ_μ (φ_{x+μ} + φ_{x-μ}) at every site."""
    import jax.numpy as jnp

    total = jnp.zeros_like(phi)
    for axis in range(phi.ndim):
        total = total + jnp.roll(phi, 1, axis) + jnp.roll(phi, -1, axis)
    return total


def laplacian_eigenvalues(shape: tuple[int, ...]) -> Float[np.ndarray, "*shape"]:
    """k̂² = Σ_μ 4 sin²(k_μ/2), the spectrum of -Δ, at k_μ = 2π n_μ/L_μ."""
    total = np.zeros(())
    for length in shape:
        total = np.add.outer(total, 4 * np.sin(np.pi * np.arange(length) / length) ** 2)
    return total


def filter_modes(factors: Configuration, phi: Configuration) -> Configuration:
    """`phi` with its momentum modes multiplied by real `factors` (even in k)."""
    import jax.numpy as jnp

    modes = jnp.fft.fftn(phi)
    return jnp.fft.ifftn(factors.astype(modes.dtype) * modes).real


def hartley(phi: Configuration) -> Configuration:
    """The real transform Σ_x φ_x Π_μ cas(k_μ x_μ)/√L_μ, cas = cos + sin; its own inverse.

    Of kernels that are even in every direction it makes factors, as Fourier's transform does:
    K*φ has the transform K̃·φ̃, K̃ the eigenvalues of K.
    """
    import jax.numpy as jnp

    for length in reversed(phi.shape):
        angle = 2 * np.pi / length * (np.outer(np.arange(length), np.arange(length)) % length)
        cas = jnp.asarray((np.cos(angle) + np.sin(angle)) / np.sqrt(length), phi.dtype)
        phi = jnp.moveaxis(phi @ cas, -1, 0)  # of the last axis, which then is the first
    return phi


def distance_classes(shape: tuple[int, ...]) -> Int[np.ndarray, "*shape"]:
    """Label every displacement by its orbit under the point group.

    Two displacements have the same label exactly when a reflection or an exchange of equally long
    axes carries one into the other. Labels run from 0 (the origin) outwards in distance without
    gaps, so a kernel tied over the point group is `weights[distance_classes(shape)]`.
    """
    keys = {}
    for site in np.ndindex(*shape):
        folded = [min(x, length - x) for x, length in zip(site, shape, strict=True)]
        # Only axes of the same length may be exchanged: sort within each group of them.
        by_length = sorted(zip(shape, folded, strict=True))
        keys[site] = (sum(x * x for x in folded), tuple(x for _, x in by_length))
    order = {key: label for label, key in enumerate(sorted(set(keys.values())))}
    labels = np.empty(shape, dtype=np.int64)
    for site, key in keys.items():
        labels[site] = order[key]
    return labels


def point_group(shape: tuple[int, ...]) -> tuple[PointGroupElement, ...]:
    """All rotations and reflections that map the torus onto itself, the identity first.

    2^d reflections times the exchanges of equally long axes: the full hyperoctahedral group (order
    2^d d!) on a hypercube, {identity, reflection} on the cycle graph.
    """
    axes = range(len(shape))
    exchanges = [
        order for order in permutations(axes) if tuple(shape[axis] for axis in order) == shape
    ]
    choices = product((False, True), repeat=len(shape))
    reversals = [tuple(axis for axis in axes if chosen[axis]) for chosen in choices]
    return tuple(PointGroupElement(*pair) for pair in product(exchanges, reversals))


def transform(phi: Shaped[Array, "*shape"], element: PointGroupElement) -> Shaped[Array, "*moved"]:
    """The configuration moved by a point-group element; the origin stays where it is."""
    import jax.numpy as jnp

    moved = jnp.transpose(phi, element.permutation)
    # Reversing indices sends 0 to L-1; one step forward puts the origin back: x -> -x mod L.
    for axis in element.reversed_axes:
        moved = jnp.roll(jnp.flip(moved, axis), 1, axis)
    return moved
