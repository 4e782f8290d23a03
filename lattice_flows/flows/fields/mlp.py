"""The symmetry-oblivious networks of Máté & Fleuret, arXiv:2301.07388.

    N(φ, t) = Σ_k ρ_k(t) [W₃ᵏ tanh(W₂ tanh(W₁ (φ/s, t, θ) + b₁) + b₂) + b₃ᵏ],
    ρ_k(t) = e^{-K²(t - c_k)²},

K Gaussian kernels in time, c_k from 0 to 1, times the outputs of one network of all components. It
knows of no symmetry: the flow of the field V = N is trained on S as it is, and may lose a well.
With two hidden layers the divergence has a closed form: for h₁, h₂ their values,

    ∇·N = Σ_ab (1 - h₁a²) (W₂)_ba (1 - h₂b²) M_ab,      M = W₁ᵠ Σ_k ρ_k W₃ᵏ / s,

W₁ᵠ being what acts on φ, and M the same for all configurations. N vanishes at first: a training
begins with the base and the straight path.
"""

from collections.abc import Callable

import haiku as hk
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows.fields.field import Field
from lattice_flows.flows.ranges import Ranges, scaled_couplings
from theories import Theory
from theories.shapes import Array, Scalar

_KERNELS = 4


def mlp(theory: Theory, ranges: Ranges, width: int = 64, scale: float = 1.0) -> Field:
    """The field for `theory`, hidden layers of `width`; `scale` is that of its input."""

    def function(t, phi, couplings):
        scaled = scaled_couplings(couplings, ranges, phi.dtype)
        network = kernel_network(theory.sites, theory.sites, width, scale)
        velocity, divergence = network(t, phi.reshape(-1), scaled)
        return velocity.reshape(phi.shape), divergence

    return Field.from_function(theory, function, odd=False)


def kernel_network(sites: int, outputs: int, width: int, scale: float) -> Callable:
    """(t, x (sites,), scaled couplings) -> N (outputs,), ∇·N (0 unless it has a value for each
    site); within a haiku function."""

    def network(
        t: Scalar, x: Float[Array, " sites"], couplings: Float[Array, " k"]
    ) -> tuple[Float[Array, " outputs"], Scalar]:
        y = jnp.concatenate([x / scale, t[None], couplings])
        first = _weights("first", (len(y), width))
        second = _weights("second", (width, width))
        shape = (_KERNELS, width, outputs)
        last = hk.get_parameter("last", shape, init=jnp.zeros)
        centres = jnp.asarray(np.linspace(0, 1, _KERNELS), x.dtype)
        kernels = jnp.exp(-((_KERNELS * (t - centres)) ** 2))
        h_1 = jnp.tanh(y @ first + _bias("first_bias", width))
        h_2 = jnp.tanh(h_1 @ second + _bias("second_bias", width))
        now = jnp.tensordot(kernels, last, axes=1)
        bias = hk.get_parameter("last_bias", (_KERNELS, outputs), init=jnp.zeros)
        value = h_2 @ now + kernels @ bias
        if outputs != sites:
            return value, jnp.zeros((), x.dtype)
        loop = first[:sites].T @ now.T / scale  # from the first hidden layer back to itself
        return value, (1 - h_1**2) @ (second * loop) @ (1 - h_2**2)

    return network


def _weights(name: str, shape: tuple[int, int]) -> Float[Array, "rows columns"]:
    init = hk.initializers.TruncatedNormal(1 / np.sqrt(shape[0]))
    return hk.get_parameter(name, shape, init=init)


def _bias(name: str, width: int) -> Float[Array, " {width}"]:
    return hk.get_parameter(name, (width,), init=jnp.zeros)
