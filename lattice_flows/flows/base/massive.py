"""A free field of any mass: q₀(φ) ∝ exp(-a Σ(∂φ)² - a m² Σφ²), a the theory's stiffness.

m² depends on the couplings through polynomials of log m². What it is to be is found by the solver
that trains the flow (training/least_squares/): the mass with which the long waves of q₀ are as
large as those of the target.
"""

from dataclasses import dataclass
from math import log
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.flows import chebyshev
from lattice_flows.flows.base.base import Base
from theories import LatticeTheory
from theories.lattice import bond_energy, hartley, laplacian_eigenvalues
from theories.shapes import Configuration, Point, Scalar


@dataclass(frozen=True)
class Massive(Base):
    """The free field with the theory's stiffness a and the mass m."""

    theory: LatticeTheory
    ranges: tuple[tuple[str, tuple[float, float]], ...] = ()

    def init(self) -> jax.Array:
        """A correlation length of a quarter of the lattice."""
        terms = len(chebyshev.degrees(dict(self.ranges)))
        return jnp.zeros(terms).at[0].set(log(least_mass(self.theory.shape)))

    def mass_term(self, params: jax.Array, couplings: Point, dtype: Any) -> Scalar:
        """a m²."""
        terms = chebyshev.of_couplings(couplings, dict(self.ranges), dtype)
        stiffness = jnp.asarray(self.theory.stiffness(couplings), dtype)
        return stiffness * jnp.exp(params.astype(dtype) @ terms)

    def _precision(self, params: jax.Array, couplings: Point, dtype: Any) -> Configuration:
        """The inverse variance of every mode."""
        stiffness = jnp.asarray(self.theory.stiffness(couplings), dtype)
        momenta = jnp.asarray(laplacian_eigenvalues(self.theory.shape), dtype)
        return 2 * (stiffness * momenta + self.mass_term(params, couplings, dtype))

    def energy(self, params: jax.Array, phi: Configuration, couplings: Point) -> Scalar:
        stiffness = jnp.asarray(self.theory.stiffness(couplings), phi.dtype)
        mass = self.mass_term(params, couplings, phi.dtype)
        return stiffness * bond_energy(phi) + mass * jnp.sum(phi**2)

    def log_normalisation(self, params: jax.Array, couplings: Point) -> Scalar:
        precision = self._precision(params, couplings, jnp.result_type(*couplings))
        return 0.5 * jnp.sum(jnp.log(2 * jnp.pi / precision))

    def sample(self, params: jax.Array, key: jax.Array, couplings: Point) -> Configuration:
        dtype = jnp.result_type(*couplings)
        noise = jax.random.normal(key, self.theory.shape, dtype)
        return hartley(noise / jnp.sqrt(self._precision(params, couplings, dtype)))


def least_mass(shape: tuple[int, ...]) -> float:
    """m² of a correlation length of a quarter of the (mean) side."""
    sites = 1
    for side in shape:
        sites *= side
    return 16.0 / sites ** (2 / len(shape))
