"""The couplings of a training: fixed values and ranges, and points within the ranges."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows.ranges import Ranges
from lattice_flows.runs.config import Config
from theories import coupling_scale
from theories.shapes import Array, Point, Scalar


@dataclass(frozen=True)
class Couplings:
    """Fixed values, the middle of each range among them, and the ranges."""

    fixed: Point
    ranges: Ranges

    @classmethod
    def of(cls, config: Config) -> "Couplings":
        """Those that a run is trained on."""
        middle = {
            name: 0.5 * (value[0] + value[1]) if isinstance(value, tuple) else value
            for name, value in config.couplings.items()
        }
        return cls(config.make_theory().from_values(**middle), config.ranges)

    def at(self, position: Float[Array, " k"], fraction: Scalar | float = 1.0) -> Point:
        """The couplings at `position` in [0, 1]; ranges are `fraction` from their low end."""
        values = {}
        for i, (name, ends) in enumerate(self.ranges.items()):
            low, high = (coupling_scale(self.fixed, name, end) for end in ends)
            value = low + (high - low) * fraction * position[i]
            values[name] = coupling_scale(self.fixed, name, value, inverse=True)
        moved = self.fixed._replace(**values)
        return moved._make(jnp.asarray(value, position.dtype) for value in moved)

    def position(self, point: Point) -> Float[np.ndarray, " k"]:
        """Where a point of numbers lies within the ranges, the inverse of `at`."""
        positions = []
        for name, ends in self.ranges.items():
            value, low, high = (
                float(coupling_scale(self.fixed, name, x)) for x in (getattr(point, name), *ends)
            )
            positions.append((value - low) / (high - low))
        return np.array(positions)
