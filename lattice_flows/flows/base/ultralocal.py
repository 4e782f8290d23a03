"""Ultralocal bases: independent sites with the large-field behaviour of the theory.

    q₀(φ) ∝ Π_x e^{-λ φ_x⁴ - c φ_x²},    λ = theory.strength(θ),   c = curvature √λ.

Sharing the quartic with the action takes it out of ∂_t f on the linear path; with a Gaussian base
the field would have to grow like φ/4t in the tails. At c = 0 this is the base of Máté & Fleuret
(arXiv:2301.07388), e^{-(φ/2)⁴} at λ = 1/16.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.flows.base.base import Base, log_site_integral, sample_sites
from theories import LatticeTheory
from theories.shapes import Configuration, Point, Scalar


@dataclass(frozen=True)
class Ultralocal(Base):
    """Independent sites e^{-λφ⁴ - cφ²}; `curvature` is c in units of √λ and may be negative."""

    theory: LatticeTheory
    curvature: float = 0.0

    def _scale(self, couplings: Point, dtype: Any) -> Scalar:
        return jnp.asarray(self.theory.strength(couplings), dtype) ** -0.25

    def energy(self, params: Any, phi: Configuration, couplings: Point) -> Scalar:
        x = phi / self._scale(couplings, phi.dtype)
        return jnp.sum(x**4 + self.curvature * x**2)

    def log_normalisation(self, params: Any, couplings: Point) -> Scalar:
        dtype = jnp.result_type(*couplings)
        curvature, source = jnp.asarray(self.curvature, dtype), jnp.zeros((), dtype)
        scale = self._scale(couplings, dtype)
        return self.theory.sites * (log_site_integral(curvature, source) + jnp.log(scale))

    def sample(self, params: Any, key: jax.Array, couplings: Point) -> Configuration:
        dtype = jnp.result_type(*couplings)
        curvature, source = jnp.asarray(self.curvature, dtype), jnp.zeros((), dtype)
        sites = sample_sites(key, self.theory.shape, curvature, source)
        return self._scale(couplings, dtype) * sites


@dataclass(frozen=True)
class GeneralisedGaussian(Base):
    """Independent sites e^{-|φ/σ|^p}, σ = `width`; the Gaussian at p = 2, the box as p → ∞."""

    power: float = 4.0
    width: float = 2.0

    @property
    def scale(self) -> float:
        return self.width / self.power ** (1 / self.power)

    def energy(self, params: Any, phi: Configuration, couplings: Point) -> Scalar:
        return jnp.sum(jnp.abs(phi / self.width) ** self.power)

    def log_normalisation(self, params: Any, couplings: Point) -> Scalar:
        dtype = jnp.result_type(*couplings)
        log_site = jnp.log(jnp.asarray(2 * self.width, dtype)) + jax.scipy.special.gammaln(
            jnp.asarray(1 + 1 / self.power, dtype)
        )
        return self.theory.sites * log_site

    def sample(self, params: Any, key: jax.Array, couplings: Point) -> Configuration:
        dtype, shape = jnp.result_type(*couplings), self.theory.shape
        radius_key, sign_key = jax.random.split(key)
        # |φ/σ|^p has the gamma density of shape 1/p
        radius = jax.random.gamma(radius_key, 1 / self.power, shape, dtype) ** (1 / self.power)
        return self.width * radius * jax.random.rademacher(sign_key, shape, dtype)
