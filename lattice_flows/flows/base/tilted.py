"""An even base, tilted to the sign that the action prefers, configuration by configuration:

    q₀'(φ) = 2 q₀(φ) π(φ),      π(φ) = e^{-S(φ)} / (e^{-S(φ)} + e^{-S(-φ)}).

It is normalised as q₀ is, and drawn by orbit resampling (symmetry.py). The linear path from it is

    f_t = (1-t) f₀ + t S_s - log 2π,

for S = S_s - log 2π: the relative weight p_t(φ)/p_t(-φ) is that of the target at every t. A path
whose wells change weight must carry mass through the barrier between them (arXiv:2410.03282); this
one need not, whatever the field knows of symmetries.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from lattice_flows.flows.base.base import Base
from lattice_flows.flows.symmetry import log_keep_probability, resample_orbit
from theories.shapes import Configuration, Point, Scalar


@dataclass(frozen=True)
class Tilted(Base):
    """`inner`, an even base, tilted; its parameters are those of `inner`."""

    inner: Base
    even: ClassVar[bool] = False

    @property
    def scale(self) -> float:
        return self.inner.scale

    def init(self) -> Any:
        return self.inner.init()

    def guesses(self, couplings: Point) -> list[Any]:
        return self.inner.guesses(couplings)

    def energy(self, params: Any, phi: Configuration, couplings: Point) -> Scalar:
        log_tilt = jnp.log(jnp.asarray(2, phi.dtype)) + log_keep_probability(
            self.theory, phi, couplings
        )
        return self.inner.energy(params, phi, couplings) - log_tilt

    def log_normalisation(self, params: Any, couplings: Point) -> Scalar:
        return self.inner.log_normalisation(params, couplings)

    def sample(self, params: Any, key: jax.Array, couplings: Point) -> Configuration:
        draw_key, orbit_key = jax.random.split(key)
        phi = self.inner.sample(params, draw_key, couplings)
        return resample_orbit(self.theory, orbit_key, phi, couplings)
