"""The symmetry-oblivious networks of Máté & Fleuret, arXiv:2301.07388.

    N(φ, t) = Σ_k ρ_k(t) N_k(φ/s, t; θ),      ρ_k = e^{-K²(t - c_k)²},

K Gaussian kernels in time, c_k from 0 to 1, times the outputs N_k of one network of all components.
It knows of no symmetry: the flow of the field V = N is trained on S as it is, and may lose a well.
∇·V is the trace of the Jacobian by forward differentiation, one jvp for each component: exact.
N vanishes at first, so that a training begins with the base and the straight path.
"""

from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from lattice_flows.fields.field import Field, Ranges, scaled_couplings
from theories import Theory

_KERNELS, _DEPTH = 4, 2


def mlp(theory: Theory, ranges: Ranges, width: int = 64, scale: float = 1.0) -> Field:
    """The field for `theory`, hidden layers of `width`; `scale` is that of its input."""

    def function(t, phi, couplings):
        network = kernel_network(theory.sites, width, scale)
        couplings = scaled_couplings(couplings, ranges, phi.dtype)

        def velocity(x):
            return network(t, x, couplings)

        x = phi.reshape(-1)
        v = velocity(x)  # makes the parameters, outside of what is differentiated
        return v.reshape(phi.shape), jnp.trace(jax.jacfwd(velocity)(x))

    return Field.from_function(theory, function, odd=False)


def kernel_network(outputs: int, width: int, scale: float) -> Callable:
    """(t, x, scaled couplings) -> (outputs,), within a haiku function."""
    layers = [hk.Linear(width, name=f"layer_{i}") for i in range(_DEPTH)]
    last = hk.Linear(_KERNELS * outputs, w_init=jnp.zeros, name="last_layer")

    def network(t: jax.Array, x: jax.Array, couplings: jax.Array) -> jax.Array:
        centres = jnp.asarray(np.linspace(0, 1, _KERNELS), x.dtype)
        kernels = jnp.exp(-((_KERNELS * (t - centres)) ** 2))
        y = jnp.concatenate([x / scale, t[None], couplings])
        for layer in layers:
            y = jnp.tanh(layer(y))
        return kernels @ last(y).reshape(_KERNELS, outputs)

    return network
