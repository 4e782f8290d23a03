"""The path of a gradient flow: the learned energy whose gradient is the velocity.

Its ends and its network are in fields/gradient.py; the residual of the deformation equation is that
of Chemseddine et al., arXiv:2410.03282, for then V = b ∇(f₀ - f).
"""

from dataclasses import dataclass, field

import jax.numpy as jnp
from jaxtyping import Float

from lattice_flows.flows.fields import GradientEnergy
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.params import Params, in_precision_of
from lattice_flows.flows.paths.path import Path
from theories.shapes import Array, Configuration, Point, Scalar


@dataclass(frozen=True)
class GradientPath(Path):
    """The path whose parameters are those of the velocity field."""

    learned: GradientEnergy = field(kw_only=True)

    def energy(self, params: Params, t: Scalar, phi: Configuration, couplings: Point) -> Scalar:
        cast = in_precision_of(params.field, t, phi, couplings)
        return self.learned.energy(params.field, *cast).astype(phi.dtype)

    def residual(
        self, params: Params, flow: Flow, t: Scalar, phi: Configuration, couplings: Point
    ) -> Scalar:
        jet = self.learned.jet(params.field, t, phi, couplings)
        return jet.rate + jnp.sum(jet.force * jet.velocity) - jet.divergence

    def extent(self, t: Float[Array, " *times"]) -> Float[Array, " *times"]:
        return self.learned.extent(t)
