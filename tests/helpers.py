"""What several tests share: parameters in double precision that let nothing vanish."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def double(tree: Any) -> Any:
    """Every leaf in float64."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def scrambled(params: Any, key: jax.Array, size: float) -> Any:
    """The parameters of a field in float64, moved by noise of `size`/√(fan-in).

    Fields begin with a small last layer: a test on those would pass with half of the field missing.
    """
    leaves, structure = jax.tree.flatten(double(params))
    moved = [
        leaf + size * jax.random.normal(k, leaf.shape) / max(leaf.shape[0], 1) ** 0.5
        for k, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)
