"""The diffusion path of a Gaussian mixture, in closed form.

Variance-preserving noising of the target, run backwards, keeps a mixture a mixture:

    p_t = Σ_k w_k N(x; a_t μ_k, a_t² Σ_k + (1 - a_t²) σ²),      a_t = sin(πt/2),

from the normal base N(0, σ²) to the target. It is the mixture's own answer to what the linear path
does badly, to carry mass from one mode to another (Máté & Fleuret, arXiv:2301.07388, compare with
it; their a_t = √t begins at infinite speed). With this schedule the widths' rate of change,
d log(deviation)/dt, is at most (π/4)|σ/s - s/σ| and vanishes at both ends, where a_t = t would
end with (σ/s)².

    f_t = -log p_t - (1 - t) log Z₀,

Z₀ the base's own normalisation, so that f₀ is the base's energy, f₁ the action, log Z_t linear.
"""

from dataclasses import dataclass

import jax.numpy as jnp

from lattice_flows.flows.params import Params
from lattice_flows.flows.paths.path import Path
from theories import GaussianMixture
from theories.shapes import Configuration, Point, Scalar


@dataclass(frozen=True)
class DiffusionPath(Path):
    """From a normal base to a Gaussian mixture at β = 1; it has no parameters."""

    def energy(self, params: Params, t: Scalar, phi: Configuration, couplings: Point) -> Scalar:
        theory = self.base.theory
        assert isinstance(theory, GaussianMixture)  # Config refuses other theories
        signal, noise = jnp.sin(jnp.pi * t / 2), jnp.cos(jnp.pi * t / 2)
        log_z = jnp.asarray(self.base.log_normalisation(params.base, couplings), phi.dtype)
        return -theory.log_density(phi, signal, (noise * self.base.scale) ** 2) - (1 - t) * log_z
