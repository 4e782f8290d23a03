"""The contract of an interpolation: energies f_t from the base (t = 0) to the target (t = 1).

    p_t = e^{-f_t}/Z_t,      f₀ the base's energy,      f₁ the action

For a flow that is odd f₁ is the symmetrised action (symmetry.py), so that every p_t is even. Adding
a path is a file beside this one and a line in `PATHS`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from lattice_flows.flows.base import Base
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.params import Params
from lattice_flows.flows.symmetry import symmetric_action
from theories.shapes import Array, Configuration, Point, Scalar


@dataclass(frozen=True)
class Path(ABC):
    """A path from `base` to its theory; `even` where the flow is odd and S is symmetrised."""

    base: Base
    even: bool = True

    def init(self, key: jax.Array) -> Any:
        """Parameters to begin with; `()` for a path without any."""
        return ()

    def target(self, phi: Configuration, couplings: Point) -> Scalar:
        """f₁ of one configuration."""
        action = symmetric_action if self.even else type(self.base.theory).action
        return action(self.base.theory, phi, couplings)

    def ends(self, params: Params, phi: Configuration, couplings: Point) -> tuple[Scalar, Scalar]:
        """f₀ and f₁ of one configuration."""
        return self.base.energy(params.base, phi, couplings), self.target(phi, couplings)

    @abstractmethod
    def energy(self, params: Params, t: Scalar, phi: Configuration, couplings: Point) -> Scalar:
        """f_t of one configuration."""

    def rate(self, params: Params, t: Scalar, phi: Configuration, couplings: Point) -> Scalar:
        """∂_t f_t of one configuration."""
        return jax.jvp(lambda t: self.energy(params, t, phi, couplings), (t,), (jnp.ones_like(t),))[
            1
        ]

    def residual(
        self, params: Params, flow: Flow, t: Scalar, phi: Configuration, couplings: Point
    ) -> Scalar:
        """∂_t f_t + ⟨∇f_t, V⟩ - ∇·V of one configuration, -C_t where the flow follows the path."""
        velocity, divergence = flow.velocity(params, t, phi, couplings)
        force = jax.grad(self.energy, argnums=2)(params, t, phi, couplings)
        return self.rate(params, t, phi, couplings) + jnp.sum(force * velocity) - divergence

    def extent(self, t: Float[Array, " *times"]) -> Float[Array, " *times"]:
        """How far p_t has grown from the base's size, 0, to the target's, 1."""
        return t
