"""Persistent annealed walkers: configurations that follow p_t for all t and couplings at once.

Walkers come in groups. A group has one flow time t and one set of couplings θ; both wander slowly
(a random walk reflected at the ends keeps them uniform), and its configurations follow p_t(·; θ)
by the Markov moves of moves.py and, where φ → -φ is no symmetry, by exchanges with groups at
neighbouring times. So each group is at all times a sample of the density at its own (t, θ),
whatever the flow is worth. Langevin steps adapt to an acceptance of 0.6.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import Path
from lattice_flows.mcmc import moves
from theories.shapes import Array

_DRIFT = 0.02  # of t and of the couplings (in units of their ranges) in one move
_ACCEPTANCE, _ADAPTATION = 0.6, 0.05


class Walkers(NamedTuple):
    """G groups of n configurations.

    t: in [0, 1]. position: within each range, in [0, 1].
    """

    phi: Float[Array, " G n *shape"]
    t: Float[Array, " G"]
    position: Float[Array, "G k"]
    log_step: Float[Array, " G"]


def start(
    path: Path, params: Params, key: jax.Array, couplings: Couplings, groups: int, size: int
) -> Walkers:
    """Walkers at t = 0, exact draws of the base; their times are 0 until they are annealed."""
    position_key, phi_key = jax.random.split(key)
    position = jax.random.uniform(position_key, (groups, len(couplings.ranges)))
    keys = jax.random.split(phi_key, (groups, size))

    def draw(keys: jax.Array, position: jax.Array) -> jax.Array:
        return jax.vmap(lambda k: path.base.sample(params.base, k, couplings.at(position)))(keys)

    return Walkers(
        jax.vmap(draw)(keys, position), jnp.zeros(groups), position, jnp.full(groups, -1.0)
    )


def anneal(
    path: Path,
    params: Params,
    key: jax.Array,
    couplings: Couplings,
    walkers: Walkers,
    end: jax.Array,
    count: int = 400,
) -> Walkers:
    """Carry walkers from their base draws to the times `end` (G,), in `count` equal steps."""

    def step(walkers: Walkers, progress_key: tuple) -> tuple[Walkers, None]:
        progress, key = progress_key
        walkers = walkers._replace(t=end * progress)
        return move(path, params, key, couplings, walkers)[0], None

    # the last fifth of the moves is made at the end
    progress = jnp.minimum(1.0, jnp.linspace(1.25 / count, 1.25, count, dtype=end.dtype))
    return jax.lax.scan(step, walkers, (progress, jax.random.split(key, count)))[0]


def random_walk(key: jax.Array, walkers: Walkers) -> Walkers:
    """Move times and positions by one step of a reflected random walk."""
    t_key, position_key = jax.random.split(key)

    def step(key: jax.Array, x: jax.Array) -> jax.Array:
        moved = jnp.abs(x + _DRIFT * jax.random.normal(key, x.shape, x.dtype))
        return 1 - jnp.abs(1 - moved)

    return walkers._replace(t=step(t_key, walkers.t), position=step(position_key, walkers.position))


def move(
    path: Path,
    params: Params,
    key: jax.Array,
    couplings: Couplings,
    walkers: Walkers,
    fraction: jax.Array | float = 1.0,
) -> tuple[Walkers, jax.Array]:
    """Move every configuration (moves.py), and exchange neighbours in t if the path is not even.

    Returns the walkers and the mean acceptance of the Langevin moves of each group, (G,).
    """

    def group(keys, phi, t, position, log_step):
        theta = couplings.at(position, fraction)
        moved, acceptance = jax.vmap(
            lambda k, x: moves.move(path, params, k, t, theta, x, log_step)
        )(keys, phi)
        return moved, jnp.mean(acceptance)

    move_key, exchange_key = jax.random.split(key)
    keys = jax.random.split(key if path.even else move_key, walkers.phi.shape[:2])
    phi, acceptance = jax.vmap(group)(
        keys, walkers.phi, walkers.t, walkers.position, walkers.log_step
    )
    log_step = walkers.log_step + _ADAPTATION * (acceptance - _ACCEPTANCE)
    walkers = walkers._replace(phi=phi, log_step=log_step)
    if not path.even:
        walkers = exchange(path, params, exchange_key, couplings, walkers, fraction)
    return walkers, acceptance


def exchange(
    path: Path,
    params: Params,
    key: jax.Array,
    couplings: Couplings,
    walkers: Walkers,
    fraction: jax.Array | float = 1.0,
) -> Walkers:
    """Exchange configurations between groups that are neighbours in t (replica exchange).

    Groups a and b swap their i-th configurations x and y with probability
    min(1, e^{f_a(x) + f_b(y) - f_a(y) - f_b(x)}). Where no symmetry relates the wells of the
    target, this is how a walker comes to another one: by way of smaller t.
    """
    parity_key, accept_key = jax.random.split(key)
    groups, size = walkers.phi.shape[:2]
    # which groups pair up alternates at random: (0 1)(2 3)… or (1 2)(3 4)…
    order = jnp.roll(jnp.argsort(walkers.t), -jax.random.randint(parity_key, (), 0, 2))
    first, second = order[: groups // 2 * 2 : 2], order[1 : groups // 2 * 2 : 2]

    def energies(phi, t, position):
        theta = couplings.at(position, fraction)
        return jax.vmap(lambda x: path.energy(params, t, x, theta))(phi)

    def at(group, of):
        return jax.vmap(energies)(walkers.phi[of], walkers.t[group], walkers.position[group])

    gain = at(first, first) + at(second, second) - at(first, second) - at(second, first)
    levels = jnp.log(jax.random.uniform(accept_key, (len(first), size), gain.dtype))
    swap = (levels < gain).reshape(len(first), size, *(1,) * (walkers.phi.ndim - 2))
    x, y = walkers.phi[first], walkers.phi[second]
    phi = walkers.phi.at[first].set(jnp.where(swap, y, x)).at[second].set(jnp.where(swap, x, y))
    return walkers._replace(phi=phi)
