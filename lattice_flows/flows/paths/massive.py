"""A path of about constant correlation length, from a free field to the target.

    f_t = t² f₁ + (1 - t²) a Σ(∂φ)² + ν(t) Σφ²,
    ν(t) = (1 - t²) a m² + t² (1 - t) a Σ_j c_j t^j

with a m² the mass term of the base (base/massive.py). The interaction comes in with t², and ν takes
care that the long waves stay what they are in the target: no transition is crossed on the way. The
c_j depend on the couplings through polynomials. They are found by the solver
(training/least_squares/): roughly by Markov chains, then as further columns of the least squares.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from lattice_flows.flows import chebyshev
from lattice_flows.flows.base import Base, Massive
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths.path import Path
from lattice_flows.flows.ranges import Ranges
from theories.errors import LatticeFlowsError
from theories.lattice import bond_energy
from theories.shapes import Array, Configuration, Point, Scalar

TERMS = 4
"""Of the polynomial in t."""


@dataclass(frozen=True)
class MassivePath(Path):
    """The path; its parameters are the c_j, (TERMS, polynomials of the couplings)."""

    base: Massive
    ranges: Ranges = field(kw_only=True)

    def init(self, key: jax.Array) -> Any:
        return jnp.zeros((TERMS, len(chebyshev.degrees(self.ranges))))

    def energy(self, params: Params, t: Scalar, phi: Configuration, couplings: Point) -> Scalar:
        stiffness = jnp.asarray(self.base.theory.stiffness(couplings), phi.dtype)
        free = (1 - t**2) * stiffness * bond_energy(phi)
        mass = self.mass_term(params, t, couplings) * jnp.sum(phi**2)
        return t**2 * self.target(phi, couplings) + free + mass

    def mass_term(self, params: Params, t: Scalar, couplings: Point) -> Scalar:
        """ν(t)."""
        bent = jnp.sum(params.path.astype(t.dtype) * self.slopes(t, couplings))
        return (1 - t**2) * self.base.mass_term(params.base, couplings, t.dtype) + bent

    def slopes(self, t: Scalar, couplings: Point) -> Float[Array, "bends terms"]:
        """What the c_j are the coefficients of in ν(t)."""
        terms = chebyshev.of_couplings(couplings, self.ranges, t.dtype)
        stiffness = jnp.asarray(self.base.theory.stiffness(couplings), t.dtype)
        return stiffness * jnp.outer(self.bends(t), terms)

    @staticmethod
    def bends(t: Scalar) -> Float[Array, " bends"]:
        """What the c_j are the coefficients of: t² (1 - t) t^j."""
        return t**2 * (1 - t) * jnp.stack([t**j for j in range(TERMS)])


def massive(base: Base, even: bool, ranges: Ranges, width: int) -> MassivePath:
    """The path from a free field; raises LatticeFlowsError for other bases."""
    if not isinstance(base, Massive):
        raise LatticeFlowsError('`interpolation="massive"` begins with `base="massive"`')
    return MassivePath(base, even, ranges=ranges)
