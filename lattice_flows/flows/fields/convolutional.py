"""The convolutional field of Gerdes et al., arXiv:2207.00283, with its divergence in closed form.

    V_x = Σ_y Σ_f κ_f(x-y; t, θ) h_f(φ_y),      ∇·V = Σ_x Σ_f κ_f(0; t, θ) h_f'(φ_x)

with odd site-local features h_f (φ, s·tanh φ/s, and sin ωφ with learned ω) and kernels tied over
the point group, linear in an embedding of (t, θ). It commutes with translations, the point group
and φ → -φ. Added to it is the Gaussian backbone.
"""

from math import sqrt

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from lattice_flows.flows.fields.backbone import backbone
from lattice_flows.flows.fields.field import Field, embed
from lattice_flows.flows.ranges import Ranges
from theories import LatticeTheory
from theories.lattice import distance_classes


def convolutional(
    theory: LatticeTheory, ranges: Ranges, width: int = 32, channels: int = 8
) -> Field:
    """The field for `theory`: `channels` features each of tanh and sine, `width` of the embedding
    of time and couplings."""
    # of 32 bits: jax takes no others in single precision first and then in double
    classes = distance_classes(theory.shape).astype(np.int32)

    def function(t, phi, couplings):
        hidden = embed(t, couplings, ranges, width)
        linear, linear_divergence = backbone(theory, t, phi, couplings, hidden)
        scales = jnp.asarray(np.linspace(0.5, 3.0, channels), phi.dtype)
        growth = hk.get_parameter("frequencies", (channels,), init=jnp.zeros)
        frequencies = scales * jnp.exp(growth.astype(phi.dtype))

        def features(phi_y):
            x = phi_y[None]
            column = (-1,) + (1,) * phi.ndim
            s, w = scales.reshape(column), frequencies.reshape(column)
            return jnp.concatenate([x, s * jnp.tanh(x / s), jnp.sin(w * x) / w])

        h, slope = jax.jvp(features, (phi,), (jnp.ones_like(phi),))
        small = hk.initializers.RandomNormal(0.01)
        count = int(classes.max()) + 1
        kernels = hk.Linear(len(h) * count, w_init=small, name="kernels")(hidden)
        kernels = kernels.reshape(len(h), count)[:, classes] / sqrt(theory.sites)
        axes = tuple(range(1, phi.ndim + 1))
        modes = jnp.sum(jnp.fft.fftn(kernels, axes=axes) * jnp.fft.fftn(h, axes=axes), axis=0)
        origin = (slice(None),) + (0,) * phi.ndim
        divergence = jnp.sum(kernels[origin] * jnp.sum(slope, axis=axes))
        return linear + jnp.fft.ifftn(modes).real, linear_divergence + divergence

    return Field.from_function(theory, function)
