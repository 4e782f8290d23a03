"""The mean-field base: the theory with its bonds replaced by an infinite-range coupling.

    q₀(φ) ∝ exp[ -Σ_x (λφ_x⁴ + cφ_x²) + (g/2V) (Σ_x φ_x)² ]

the Curie-Weiss model with φ⁴ spins, λ the theory's `strength`. It has the large-field behaviour of
a quartic theory, is even, and, unlike independent sites, it has two wells in the magnetization
where the theory has them, so that nothing is left for the flow to do but local correlations. A
Gaussian integral over a uniform source g·u makes its sites independent (Hubbard-Stratonovich),

    e^{(g/2V)(Σφ)²} = √(Vg/2π) ∫ du e^{-Vgu²/2 + gu Σφ},

so the normalisation is a sum over u, and an exact draw is u first, then site by site.

c and g are polynomials of the couplings, fitted to the target before training
(training/base_fit.py). Lengths are in units of λ^{-1/4}.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import ceil, sqrt
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from lattice_flows.flows.base.base import Base, log_site_integral, sample_sites
from theories import LatticeTheory
from theories.shapes import Array, Configuration, Point, Scalar


class MeanFieldParams(NamedTuple):
    """Coefficients of the polynomials for c and (through softplus) for g."""

    curvature: Float[Array, " monomials"]
    coupling: Float[Array, " monomials"]


@dataclass(frozen=True)
class MeanField(Base):
    """The infinite-range model; `ranges` are the couplings that c and g depend on."""

    theory: LatticeTheory
    ranges: tuple[tuple[str, tuple[float, float]], ...] = ()

    def init(self) -> MeanFieldParams:
        """Nearly independent sites: c = 0, g small."""
        zeros = jnp.zeros(len(list(self._monomials())))
        return MeanFieldParams(zeros, zeros.at[0].set(-3.0))

    def guesses(self, couplings: Point) -> list[MeanFieldParams]:
        """Independent sites, and the classical wells, g/4 - c/2 = -quadratic/2, at several g."""
        begin = self.init()
        strength = jnp.asarray(self.theory.strength(couplings))
        local = jnp.asarray(self.theory.quadratic(couplings)) / jnp.sqrt(strength)
        wells = [
            MeanFieldParams(
                begin.curvature.at[0].set(local + bonds), begin.coupling.at[0].set(2 * bonds)
            )
            for bonds in (1.5, 3.0, 6.0)
        ]
        return [begin, *wells]

    def energy(self, params: MeanFieldParams, phi: Configuration, couplings: Point) -> Scalar:
        scale, c, g = self._local(params, couplings, phi.dtype)
        x = phi / scale
        return jnp.sum(x**4 + c * x**2) - g / (2 * self.theory.sites) * jnp.sum(x) ** 2

    def log_normalisation(self, params: MeanFieldParams, couplings: Point) -> Scalar:
        dtype = jnp.result_type(*couplings)
        scale, c, g = self._local(params, couplings, dtype)
        u, log_weights = self._sources(c, g)
        log_gaussian = 0.5 * jnp.log(self.theory.sites * g / (2 * jnp.pi))
        log_sum = jax.nn.logsumexp(log_weights) + jnp.log(u[1] - u[0])
        return log_sum + log_gaussian + self.theory.sites * jnp.log(scale)

    def sample(self, params: MeanFieldParams, key: jax.Array, couplings: Point) -> Configuration:
        scale, c, g = self._local(params, couplings, jnp.result_type(*couplings))
        source_key, site_key = jax.random.split(key)
        u, log_weights = self._sources(c, g)
        source = g * u[jax.random.categorical(source_key, log_weights)]
        return scale * sample_sites(site_key, self.theory.shape, c, source)

    def _sources(
        self, c: Scalar, g: Scalar
    ) -> tuple[Float[Array, " points"], Float[Array, " points"]]:
        """A grid of u and the log of e^{-Vgu²/2} z(gu)^V on it, z the one-site integral.

        The grid reaches past the mean-field magnetization, √(g/4 - c/2) where that is real, and
        resolves the Gaussian's width 1/√(Vg), so that the sum equals the integral to rounding. For
        the same reason nothing depends on where it ends, and no derivative is taken of that.
        """
        volume = self.theory.sites
        wells = jnp.sqrt(jnp.maximum(0.25 * g - 0.5 * c, 0))
        end = wells + 1 + 8 / jnp.sqrt(volume * g)
        u = jax.lax.stop_gradient(end) * jnp.linspace(
            -1, 1, 33 + 32 * ceil(sqrt(volume)), dtype=c.dtype
        )
        log_z = jax.vmap(log_site_integral, in_axes=(None, 0))(c, g * u)
        return u, volume * (log_z - 0.5 * g * u**2)

    def _local(
        self, params: MeanFieldParams, couplings: Point, dtype: Any
    ) -> tuple[Scalar, Scalar, Scalar]:
        """The unit of length λ^{-1/4}, and c and g in its units."""
        scale = jnp.asarray(self.theory.strength(couplings), dtype) ** -0.25
        scaled = [
            (jnp.asarray(getattr(couplings, name), dtype) - 0.5 * (low + high))
            / (0.5 * (high - low))
            for name, (low, high) in self.ranges
        ]
        one = jnp.ones((), dtype)
        features = jnp.stack([_product(scaled, factors, one) for factors in self._monomials()])
        c = jnp.sum(params.curvature.astype(dtype) * features)
        g = jax.nn.softplus(jnp.sum(params.coupling.astype(dtype) * features)) + 1e-3
        return scale, c, g

    def _monomials(self):
        """The factors of every monomial up to third order in the ranged couplings."""
        for order in range(4 if self.ranges else 1):
            yield from combinations_with_replacement(range(len(self.ranges)), order)


def _product(scaled: list[Scalar], factors: tuple[int, ...], one: Scalar) -> Scalar:
    for i in factors:
        one = one * scaled[i]
    return one
