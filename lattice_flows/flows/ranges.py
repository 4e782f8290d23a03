"""The couplings that a flow is conditioned on, and where in their ranges a point lies."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Float

from theories import coupling_scale
from theories.shapes import Array, Point

Ranges = Mapping[str, tuple[float, float]]
"""The couplings that a field is conditioned on, each with its (low, high)."""


def scaled_couplings(
    couplings: Point, ranges: Ranges, dtype: Any
) -> Float[Array, " {len(ranges)}"]:
    """The couplings of `ranges`, each scaled to [-1, 1]."""
    values = []
    for name, ends in ranges.items():
        value = coupling_scale(couplings, name, jnp.asarray(getattr(couplings, name), dtype))
        low, high = (coupling_scale(couplings, name, end) for end in ends)
        values.append((value - 0.5 * (low + high)) / (0.5 * (high - low)))
    return jnp.stack(values) if values else jnp.zeros(0, dtype)
