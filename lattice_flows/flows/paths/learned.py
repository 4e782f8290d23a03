"""The learned path of Máté & Fleuret, arXiv:2301.07388, eq. (11):

    f_t = (1-t) f₀ + t f₁ + t(1-t) g_t,

g_t a network that is trained together with the field: where the linear path would have to carry
mass through a barrier, another one may not.
"""

from dataclasses import dataclass, field
from typing import Any

import jax

from lattice_flows.flows.base import Base
from lattice_flows.flows.fields import Network, potential
from lattice_flows.flows.params import Params, in_precision_of
from lattice_flows.flows.paths.path import Path
from lattice_flows.flows.ranges import Ranges
from theories.shapes import Configuration, Point, Scalar


@dataclass(frozen=True)
class LearnedPath(Path):
    """The linear path and a network `potential` that vanishes at both ends."""

    potential: Network = field(kw_only=True)

    def init(self, key: jax.Array) -> Any:
        return self.potential.init(key)

    def energy(self, params: Params, t: Scalar, phi: Configuration, couplings: Point) -> Scalar:
        cast = in_precision_of(params.path, t, phi, couplings)
        g = self.potential.apply(params.path, *cast).astype(phi.dtype)
        base, target = self.ends(params, phi, couplings)
        return (1 - t) * base + t * target + t * (1 - t) * g


def learned(base: Base, even: bool, ranges: Ranges, width: int) -> LearnedPath:
    """The learned path with a network of `width` for the base's theory."""
    return LearnedPath(base, even, potential=potential(base.theory, ranges, width, base.scale))
