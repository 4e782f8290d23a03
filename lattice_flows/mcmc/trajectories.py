"""Hamiltonian Monte Carlo of many configurations at once, at many densities.

Groups of configurations each follow a density e^{-f_g}. Momenta have the covariance of the inverse
of a free field (Fourier acceleration): with φ = root·y mode by mode, y has momenta of unit
variance, and long waves move as fast as short ones. After each trajectory the sign of φ is drawn
anew, for f_g(-φ) = f_g(φ). Step sizes adapt to an acceptance of 0.8 and are different at every
trajectory, lest any mode comes back to where it was.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from theories.lattice import hartley
from theories.shapes import Array, Configuration, Scalar

_ACCEPTANCE, _ADAPTATION, _JITTER = 0.8, 0.1, 0.2
_LEAPS = 8

Energy = Callable[[Array, Configuration], Scalar]
"""(number of the group, configuration) -> f."""


def walk(
    energy: Energy,
    key: jax.Array,
    phi: Float[Array, " G n *shape"],
    root: Float[Array, " G *shape"],
    log_step: Float[Array, " G"],
    count: int,
) -> tuple[Float[Array, " G n *shape"], Float[Array, " G"], Float[Array, " G"]]:
    """`count` trajectories; the configurations, the steps, and the mean acceptance of each group.

    root: the width of each mode, of the free field that accelerates.
    """
    groups, sites = jnp.arange(phi.shape[0]), tuple(range(2, phi.ndim))
    wide = root[:, None]

    def each(function: Callable[[Configuration], Any]) -> Callable[..., Any]:
        return jax.vmap(jax.vmap(function))

    def of_all(values: Array) -> Array:
        """Numbers (G, n), or (G,), beside configurations."""
        return values.reshape(*values.shape, *(1,) * (phi.ndim - values.ndim))

    energies = jax.vmap(jax.vmap(energy, (None, 0)))
    forces = jax.vmap(jax.vmap(jax.grad(energy, argnums=1), (None, 0)))

    def force(y: Array) -> Array:
        return wide * each(hartley)(forces(groups, each(hartley)(wide * y)))

    def trajectory(carry: tuple, key: jax.Array) -> tuple[tuple, Float[Array, " G"]]:
        phi, log_step = carry
        jitter_key, momentum_key, accept_key, sign_key = jax.random.split(key, 4)
        jitter = jax.random.uniform(jitter_key, log_step.shape, phi.dtype, 1 - _JITTER, 1 + _JITTER)
        step = of_all(jitter * jnp.exp(log_step))
        start = each(hartley)(phi) / wide
        momentum = jax.random.normal(momentum_key, phi.shape, phi.dtype)

        def leap(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            y, p = state
            y = y + step * p
            return y, p - step * force(y)

        kicked = momentum - 0.5 * step * force(start)
        y, p = jax.lax.fori_loop(0, _LEAPS - 1, leap, (start, kicked))
        y = y + step * p
        p = p - 0.5 * step * force(y)
        moved = each(hartley)(wide * y)
        kinetic = 0.5 * jnp.sum(momentum**2 - p**2, axis=sites)
        gain = energies(groups, phi) - energies(groups, moved) + kinetic
        gain = jnp.where(jnp.isfinite(gain), gain, -jnp.inf)  # what runs away is left out
        taken = jnp.log(jax.random.uniform(accept_key, gain.shape, phi.dtype)) < gain
        sign = jax.random.rademacher(sign_key, gain.shape, phi.dtype)
        phi = of_all(sign) * jnp.where(of_all(taken), moved, phi)
        acceptance = jnp.mean(jnp.exp(jnp.minimum(gain, 0.0)), axis=1)
        return (phi, log_step + _ADAPTATION * (acceptance - _ACCEPTANCE)), acceptance

    carry, acceptances = jax.lax.scan(trajectory, (phi, log_step), jax.random.split(key, count))
    return *carry, jnp.mean(acceptances, axis=0)
