"""The symmetry-oblivious field of Máté & Fleuret, arXiv:2301.07388.

    V(φ, t) = Σ_k ρ_k(t) N_k(φ; θ),

Gaussian kernels ρ_k in time, normalised, times the outputs N_k of one network of all components.
It knows of no symmetry, so its flow is trained on S as it is and may lose a well. ∇·V is the trace
of the Jacobian by forward differentiation, one jvp for each component: exact.
"""

import haiku as hk
import jax
import jax.numpy as jnp

from lattice_flows.fields.field import Field, Ranges, condition
from theories import Theory

_KERNELS = 8  # in time


def mlp(theory: Theory, ranges: Ranges, width: int = 64, depth: int = 3) -> Field:
    """The field for `theory`; `depth` hidden layers of `width`."""

    def function(t, phi, couplings):
        seen = condition(t, couplings, ranges, _KERNELS)
        kernels, scaled = seen[:_KERNELS], seen[_KERNELS:]
        layers = [hk.Linear(width, name=f"layer_{i}") for i in range(depth)]
        small = hk.initializers.RandomNormal(0.01)
        last = hk.Linear(_KERNELS * theory.sites, w_init=small, name="last_layer")

        def velocity(x):
            y = jnp.concatenate([x, scaled])
            for layer in layers:
                y = jax.nn.swish(layer(y))
            parts = last(y).reshape(_KERNELS, -1)
            return kernels @ parts / jnp.sum(kernels)

        x = phi.reshape(-1)
        v = velocity(x)  # makes the parameters, outside of what is differentiated
        return v.reshape(phi.shape), jnp.trace(jax.jacfwd(velocity)(x))

    return Field.from_function(theory, function, odd=False)
