"""The free field as a base: q₀(φ) ∝ exp(-stiffness Σ(∂φ)² - μ Σφ²), drawn mode by mode.

For a free theory μ is its own mass term and q₀ = p. Otherwise μ = |quadratic| + √λ. The tails of a
Gaussian are fatter than a quartic action's: on the linear path the field then has to act like
-φ/4t at large φ, so a theory with λ > 0 is better served by an ultralocal or mean-field base.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.flows.base.base import Base
from theories import LatticeTheory
from theories.lattice import bond_energy, filter_modes, laplacian_eigenvalues
from theories.shapes import Configuration, Point, Scalar


@dataclass(frozen=True)
class Gaussian(Base):
    """The free field with the theory's stiffness."""

    theory: LatticeTheory

    def _mass(self, couplings: Point, dtype: Any) -> Scalar:
        strength = jnp.asarray(self.theory.strength(couplings), dtype)
        return jnp.abs(jnp.asarray(self.theory.quadratic(couplings), dtype)) + jnp.sqrt(strength)

    def _precision(self, couplings: Point, dtype: Any) -> Configuration:
        """The inverse variance of every momentum mode."""
        stiffness = jnp.asarray(self.theory.stiffness(couplings), dtype)
        momenta = jnp.asarray(laplacian_eigenvalues(self.theory.shape), dtype)
        return 2 * (stiffness * momenta + self._mass(couplings, dtype))

    def energy(self, params: Any, phi: Configuration, couplings: Point) -> Scalar:
        stiffness = jnp.asarray(self.theory.stiffness(couplings), phi.dtype)
        mass = self._mass(couplings, phi.dtype)
        return stiffness * bond_energy(phi) + mass * jnp.sum(phi**2)

    def log_normalisation(self, params: Any, couplings: Point) -> Scalar:
        precision = self._precision(couplings, jnp.result_type(*couplings))
        return 0.5 * jnp.sum(jnp.log(2 * jnp.pi / precision))

    def sample(self, params: Any, key: jax.Array, couplings: Point) -> Configuration:
        dtype = jnp.result_type(*couplings)
        noise = jax.random.normal(key, self.theory.shape, dtype)
        return filter_modes(1 / jnp.sqrt(self._precision(couplings, dtype)), noise)
