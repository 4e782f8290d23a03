"""The learned path of Máté & Fleuret, arXiv:2301.07388, eq. (11):

    f_t = (1-t) f₀ + t f₁ + t(1-t) g_t,

g_t a network that is trained together with the field: where the linear path would have to carry
mass through a barrier, another one may not.
"""

from dataclasses import dataclass
from typing import Any

import jax

from lattice_flows.base import Base
from lattice_flows.fields import Network, potential
from lattice_flows.fields.field import Ranges
from lattice_flows.params import Params, in_precision_of
from lattice_flows.paths.linear import LinearPath
from lattice_flows.paths.path import Path


@dataclass(frozen=True)
class LearnedPath(LinearPath):
    """The linear path and a network `potential` that vanishes at both ends."""

    potential: Network | None = None

    def _network(self) -> Network:
        assert self.potential is not None  # dataclass inheritance wants a default
        return self.potential

    def init(self, key: jax.Array) -> Any:
        return self._network().init(key)

    def energy(self, params: Params, t: jax.Array, phi: jax.Array, couplings: Any) -> jax.Array:
        cast = in_precision_of(params.path, t, phi, couplings)
        g = self._network().apply(params.path, *cast).astype(phi.dtype)
        return super().energy(params, t, phi, couplings) + t * (1 - t) * g

    rate = Path.rate


def learned(base: Base, even: bool, ranges: Ranges, width: int) -> LearnedPath:
    """The learned path with a network of `width` for the base's theory."""
    return LearnedPath(base, even, potential(base.theory, ranges, width, base.scale))
