"""Hamiltonian Monte Carlo of many configurations at once, at many densities.

Groups of configurations each follow a density e^{-f_g}. Momenta have the covariance of the inverse
of a free field (Fourier acceleration): with φ = root·y mode by mode, y has momenta of unit
variance, and long waves move as fast as short ones. After each trajectory the sign of φ is drawn
anew, for f_g(-φ) = f_g(φ). Step sizes adapt to an acceptance of 0.8 and are different at every
trajectory, lest any mode comes back to where it was.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from theories.lattice import hartley
from theories.shapes import Array, Configuration, Scalar

_ACCEPTANCE, _ADAPTATION, _JITTER = 0.8, 0.1, 0.2
LEAPS = 8

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
    groups = jnp.arange(phi.shape[0])

    def trajectory(carry: tuple, key: jax.Array) -> tuple[tuple, Float[Array, " G"]]:
        phi, log_step = carry
        keys = jax.random.split(key, (phi.shape[0], 2))
        moved, acceptance = jax.vmap(lambda *group: _group(energy, *group))(
            groups, keys, phi, root, log_step
        )
        return (moved, log_step + _ADAPTATION * (acceptance - _ACCEPTANCE)), acceptance

    carry, acceptances = jax.lax.scan(trajectory, (phi, log_step), jax.random.split(key, count))
    return *carry, jnp.mean(acceptances, axis=0)


def _group(
    energy: Energy,
    group: Array,
    keys: jax.Array,
    phi: Float[Array, " n *shape"],
    root: Configuration,
    log_step: Scalar,
) -> tuple[Float[Array, " n *shape"], Scalar]:
    """One trajectory of every configuration of a group, with one step size; mean acceptance."""
    jitter = jax.random.uniform(keys[0], (), phi.dtype, 1 - _JITTER, 1 + _JITTER)
    step = jitter * jnp.exp(log_step)

    def of_modes(y: Configuration) -> Scalar:
        return energy(group, hartley(root * y))

    def one(key: jax.Array, x: Configuration) -> tuple[Configuration, Scalar]:
        momentum_key, accept_key, sign_key = jax.random.split(key, 3)
        start = hartley(x) / root
        momentum = jax.random.normal(momentum_key, x.shape, x.dtype)
        before, force = jax.value_and_grad(of_modes)(start)

        def leap(_: Array, state: tuple) -> tuple:
            y, p, force, _ = state
            p = p - 0.5 * step * force
            y = y + step * p
            after, force = jax.value_and_grad(of_modes)(y)
            return y, p - 0.5 * step * force, force, after

        y, p, _, after = jax.lax.fori_loop(0, LEAPS, leap, (start, momentum, force, before))
        gain = before - after + 0.5 * (jnp.sum(momentum**2) - jnp.sum(p**2))
        gain = jnp.where(jnp.isfinite(gain), gain, -jnp.inf)  # what runs away is left out
        taken = jnp.log(jax.random.uniform(accept_key, (), x.dtype)) < gain
        sign = jax.random.rademacher(sign_key, (), x.dtype)
        return sign * jnp.where(taken, hartley(root * y), x), jnp.exp(jnp.minimum(gain, 0.0))

    moved, accepted = jax.vmap(one)(jax.random.split(keys[1], len(phi)), phi)
    return moved, jnp.mean(accepted)
