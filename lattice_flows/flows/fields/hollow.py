"""The hollow-context field: V_x = g(φ_x, c_x; t, θ), with a context that leaves out its own site.

    c_x = Σ_{y≠x} k(x-y) u(φ_y),      ∇·V = Σ_x ∂g/∂φ_x at fixed c  (exact: one jvp for all sites)

k is tied over the point group, u is φ and s·tanh(φ/s) at several scales s, and the neighbour sum is
always among the contexts. g is a small network, shared by all sites, modulated by an embedding of
(t, θ) and made odd, ½[G(φ, c) - G(-φ, -c)]; so V commutes with translations, the point group
and φ → -φ. Added to it is the Gaussian backbone. Fields with a divergence in closed form:
Gerdes et al., arXiv:2207.00283; hollow contexts: Chen & Duvenaud, arXiv:1912.03579.
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lattice_flows.flows.fields.backbone import backbone
from lattice_flows.flows.fields.field import Field, embed
from lattice_flows.flows.ranges import Ranges
from theories import LatticeTheory
from theories.lattice import distance_classes, neighbour_sum
from theories.shapes import Array, Configuration


def hollow(
    theory: LatticeTheory, ranges: Ranges, width: int = 32, channels: int = 8, odd: bool = True
) -> Field:
    """The field for `theory`; `width` of its hidden layers, `channels` context kernels each of φ
    and of tanh φ. Unless `odd` it is left as G(φ, c), with the symmetries of the lattice alone."""

    def function(t, phi, couplings):
        hidden = embed(t, couplings, ranges, 32)
        linear, linear_divergence = backbone(theory, t, phi, couplings, hidden)
        velocity, divergence = site_network(theory, phi, hidden, width, channels, odd)
        return linear + velocity[0], linear_divergence + divergence[0]

    return Field.from_function(theory, function, odd)


def site_network(
    theory: LatticeTheory,
    phi: Configuration,
    hidden: Float[Array, " embedded"],
    width: int,
    channels: int = 8,
    odd: bool = True,
    outputs: int = 1,
) -> tuple[Float[Array, " {outputs} *shape"], Float[Array, " {outputs}"]]:
    """g at every site, within a haiku function; `hidden` embeds what g is modulated by.

    Returns velocities and divergences.
    """
    context = hk.Linear(width, with_bias=False, name="context_layer")(
        contexts(theory, phi, channels)
    )
    local_layer = hk.Linear(width, with_bias=False, name="local_layer")
    second = hk.Linear(width, name="second_layer")
    small = hk.initializers.RandomNormal(0.01)
    last = hk.Linear(outputs, with_bias=False, w_init=small, name="last_layer")
    gain_1, shift_1, gain_2, shift_2, gain_3 = jnp.split(
        hk.Linear(5 * width, name="modulation")(hidden)[None], 5, axis=1
    )

    def positive_half(z):
        y = jax.nn.swish(z + shift_1)
        return jax.nn.swish(second(y) * (1 + gain_2) + shift_2)

    def g(phi_x):
        """g at all sites as a function of each site's own field, contexts held fixed."""
        local = jnp.stack([0.3 * phi_x, jnp.tanh(phi_x), jnp.tanh(0.5 * phi_x)], axis=-1)
        z = (local_layer(local) + context) * (1 + gain_1)
        y = positive_half(z) - positive_half(-z) if odd else positive_half(z)
        return last(y * (1 + gain_3)).T

    flat = phi.reshape(-1)
    velocity, derivative = jax.jvp(g, (flat,), (jnp.ones_like(flat),))
    return velocity.reshape(outputs, *phi.shape), jnp.sum(derivative, axis=1)


def contexts(
    theory: LatticeTheory, phi: Configuration, channels: int
) -> Float[Array, "V 2*{channels}+1"]:
    """Contexts of each site, none of which depends on the field at its own site."""
    flat = phi.reshape(-1)
    scales = jnp.asarray(np.linspace(0.5, 3.0, channels), phi.dtype)[None]
    features = jnp.concatenate(
        [jnp.tile(flat[:, None], (1, channels)), scales * jnp.tanh(flat[:, None] / scales)], axis=1
    )
    classes = _displacement_classes(theory)
    kernels = hk.get_parameter(
        "kernels",
        (int(classes.max()), 2 * channels),
        init=hk.initializers.RandomNormal(1 / np.sqrt(theory.sites)),
    )
    centre = jnp.zeros((1, 2 * channels), kernels.dtype)
    matrices = jnp.concatenate([centre, kernels])[classes]
    contexts = jnp.einsum("xyf,yf->xf", matrices, features)
    neighbours = neighbour_sum(phi).reshape(-1, 1)
    return 0.3 * jnp.concatenate([contexts, neighbours], axis=1)


def _displacement_classes(theory: LatticeTheory) -> Int[np.ndarray, "V V"]:
    """Labels of the displacement between two sites; 0 on the diagonal alone."""
    sites = np.stack(np.unravel_index(np.arange(theory.sites), theory.shape))
    displacement = (sites[:, :, None] - sites[:, None, :]) % np.reshape(theory.shape, (-1, 1, 1))
    return distance_classes(theory.shape)[tuple(displacement)]
