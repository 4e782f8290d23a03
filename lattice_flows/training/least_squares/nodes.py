"""Where the residual is evaluated: times and couplings, with their weights.

Times are those of Gauss and Legendre. Couplings are Chebyshev nodes within each range, one more in
each than the degree of the polynomials (flows/chebyshev.py). Nodes are in order of the time, those
of one time together.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows.chebyshev import COUPLING_DEGREE
from lattice_flows.flows.couplings import Couplings
from theories.shapes import Point

TIMES = 8
_PER_RANGE = COUPLING_DEGREE + 2


@dataclass(frozen=True)
class Nodes:
    """t (T,) and its weights; position (E, k) of the couplings within their ranges."""

    t: Float[np.ndarray, " T"]
    weights: Float[np.ndarray, " T"]
    position: Float[np.ndarray, "E k"]
    couplings: Couplings

    @classmethod
    def of(cls, couplings: Couplings) -> "Nodes":
        x, w = np.polynomial.legendre.leggauss(TIMES)
        along = 0.5 - 0.5 * np.cos(np.pi * (np.arange(_PER_RANGE) + 0.5) / _PER_RANGE)
        along = (along - along[0]) / (along[-1] - along[0])  # up to the ends
        each = np.meshgrid(*[along] * len(couplings.ranges), indexing="ij")
        position = np.stack([one.ravel() for one in each], axis=-1) if each else np.zeros((1, 0))
        return cls(0.5 * (1 + x), 0.5 * w, position, couplings)

    def points(self) -> Point:
        """The couplings, arrays (E,) in single precision."""
        return jax.vmap(self.couplings.at)(jnp.asarray(self.position, jnp.float32))

    def all_times(self) -> Float[np.ndarray, " TE"]:
        return np.repeat(self.t, len(self.position))

    def all_weights(self) -> Float[np.ndarray, " TE"]:
        return np.repeat(self.weights, len(self.position)) / len(self.position)

    def all_points(self) -> Point:
        """The couplings of all nodes, arrays (T·E,)."""
        return jax.tree.map(lambda x: jnp.tile(x, len(self.t)), self.points())
