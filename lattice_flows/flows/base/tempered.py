"""A base at the temperature of its theory, q₀(x)^β: for targets p^β at an inverse temperature β.

    e^{-β|x/σ|^p},    components of size σ β^{-1/p}.

A flow that takes it to p^β at one β, and is affine around a mode, takes it so at any other β: what
is left to learn of the temperature is how much each mode weighs, and where modes meet. It is what
Wahl et al. (arXiv:2410.19492) begin with, too ("temperature scaling" of the latent variables).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.flows.base.base import Base
from lattice_flows.flows.base.ultralocal import GeneralisedGaussian
from theories.shapes import Configuration, Scalar


@dataclass(frozen=True)
class Tempered(Base):
    """`inner`, the base at β = 1; the couplings have a `beta`."""

    inner: GeneralisedGaussian

    @property
    def scale(self) -> float:
        return self.inner.scale

    def energy(self, params: Any, phi: Configuration, couplings: Any) -> Scalar:
        return jnp.asarray(couplings.beta, phi.dtype) * self.inner.energy(params, phi, couplings)

    def log_normalisation(self, params: Any, couplings: Any) -> Scalar:
        shrinking = self.theory.sites / self.inner.power * jnp.log(jnp.asarray(couplings.beta))
        return self.inner.log_normalisation(params, couplings) - shrinking

    def sample(self, params: Any, key: jax.Array, couplings: Any) -> Configuration:
        size = jnp.asarray(couplings.beta) ** (-1 / self.inner.power)
        return size * self.inner.sample(params, key, couplings)
