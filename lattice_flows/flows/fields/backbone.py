"""The exact field of a Gaussian path, as the linear part of every field.

Between Gaussians of precision A_k(t) = 2(a + t·b_k) in the momentum mode k the deformation equation
is solved by the linear field

    V_k = -½ (d/dt log A_k) φ_k = -½ b_k / (a + t b_k) φ_k,      b_k = stiffness·k̂² + b.

On the linear path from independent sites to the lattice action, b_k is what the bonds bring in;
a(t, θ) > 0 and b(t, θ) are learned and stand for all that is local. A stiff theory (many modes of
very different width) is thereby left to the rest of the field in units where it is not stiff.
It commutes with translations and the point group and is odd; ∇·V = Σ_k V_k/φ_k. Along couplings
θ_j, rather than times, the same Gaussians of precision 2(a + stiffness·k̂²) give

    u_jk = -½ (b_j + c_j·stiffness·k̂²) / (a + stiffness·k̂²) φ_k,      b_j = ∂a/∂θ_j,

c_j the relative change of the stiffness; a(θ) > 0, b(θ) and c(θ) are learned.
"""

import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Float

from theories import LatticeTheory
from theories.lattice import filter_modes, laplacian_eigenvalues
from theories.shapes import Array, Configuration, Point, Scalar


def backbone(
    theory: LatticeTheory,
    t: Scalar,
    phi: Configuration,
    couplings: Point,
    hidden: Float[Array, " width"],
) -> tuple[Configuration, Scalar]:
    """(velocity, divergence) of the linear part; `hidden` is an embedding of (t, θ)."""
    local = hk.Linear(2, w_init=hk.initializers.RandomNormal(0.01), name="backbone")(hidden)
    scale = jnp.sqrt(jnp.asarray(theory.strength(couplings), phi.dtype)) + 0.1
    a, b = 6 * scale * jax.nn.softplus(local[0]), scale * local[1]
    stiffness = jnp.asarray(theory.stiffness(couplings), phi.dtype)
    modes = stiffness * jnp.asarray(laplacian_eigenvalues(theory.shape), phi.dtype) + b
    # below 0.2 a no mode's precision is let vanish, whatever b
    rate = -0.5 * modes / jnp.maximum(a + t * modes, 0.2 * a)
    return filter_modes(rate, phi), jnp.sum(rate)


def coupling_backbone(
    theory: LatticeTheory,
    phi: Configuration,
    couplings: Point,
    hidden: Float[Array, " width"],
    count: int,
) -> tuple[Float[Array, " {count} *shape"], Float[Array, " {count}"]]:
    """(velocities, divergences) along couplings; `hidden` embeds θ."""
    small = hk.initializers.RandomNormal(0.01)
    local = hk.Linear(1 + 2 * count, w_init=small, name="backbone")(hidden)
    scale = jnp.sqrt(jnp.asarray(theory.strength(couplings), phi.dtype)) + 0.1
    a, b, c = 6 * scale * jax.nn.softplus(local[0]), scale * local[1::2], local[2::2]
    stiffness = jnp.asarray(theory.stiffness(couplings), phi.dtype)
    bonds = stiffness * jnp.asarray(laplacian_eigenvalues(theory.shape), phi.dtype)
    rates = jax.vmap(lambda b, c: -0.5 * (b + c * bonds) / (a + bonds))(b, c)
    velocities = jax.vmap(lambda rate: filter_modes(rate, phi))(rates)
    return velocities, jnp.sum(rates, axis=range(1, rates.ndim))
