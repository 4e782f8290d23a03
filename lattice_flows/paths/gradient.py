"""The path of a gradient flow: the learned energy whose gradient is the velocity.

Its ends and its network are in fields/gradient.py; the residual of the deformation equation is that
of Chemseddine et al., arXiv:2410.03282, for then V = b ∇(f₀ - f).
"""

from dataclasses import dataclass
from typing import Any

import jax

from lattice_flows.fields import GradientEnergy
from lattice_flows.params import Params
from lattice_flows.paths.path import Path


@dataclass(frozen=True)
class GradientPath(Path):
    """The path whose parameters are those of the velocity field."""

    learned: GradientEnergy | None = None

    def energy(self, params: Params, t: jax.Array, phi: jax.Array, couplings: Any) -> jax.Array:
        return self._jet(params, t, phi, couplings).value

    def slopes(
        self, params: Params, t: jax.Array, phi: jax.Array, couplings: Any
    ) -> tuple[jax.Array, jax.Array]:
        jet = self._jet(params, t, phi, couplings)
        return jet.force, jet.rate

    def extent(self, t: jax.Array) -> jax.Array:
        assert self.learned is not None
        return self.learned.extent(t)

    def _jet(self, params: Params, t: jax.Array, phi: jax.Array, couplings: Any) -> Any:
        assert self.learned is not None  # dataclass inheritance wants a default
        return self.learned.energy(params.field, t, phi, couplings)
