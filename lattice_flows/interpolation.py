"""Paths of energies f_t from the base (t = 0) to the target (t = 1).

    p_t = e^{-f_t}/Z_t,      linear path:  f_t = (1-t) f₀ + t f₁

f₀ is the base's energy and f₁ the symmetrised action (symmetry.py), so every p_t is even.
"""

from dataclasses import dataclass
from typing import Any

import jax

from lattice_flows.base import Base
from lattice_flows.symmetry import symmetric_action


@dataclass(frozen=True)
class LinearPath:
    """The linear path from `base` to its theory. `params` are those of the base."""

    base: Base

    def ends(self, params: Any, phi: jax.Array, couplings: Any) -> tuple[jax.Array, jax.Array]:
        """f₀ and f₁ of one configuration, two scalars."""
        return (
            self.base.energy(params, phi, couplings),
            symmetric_action(self.base.theory, phi, couplings),
        )

    def energy(self, params: Any, t: jax.Array, phi: jax.Array, couplings: Any) -> jax.Array:
        """f_t of one configuration, a scalar."""
        base, target = self.ends(params, phi, couplings)
        return (1 - t) * base + t * target

    def rate(self, params: Any, t: jax.Array, phi: jax.Array, couplings: Any) -> jax.Array:
        """∂_t f_t of one configuration, a scalar."""
        base, target = self.ends(params, phi, couplings)
        return target - base
