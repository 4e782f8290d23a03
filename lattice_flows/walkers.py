"""Persistent annealed walkers: configurations that follow p_t for all t and couplings at once.

Walkers come in groups. A group has one flow time t and one set of couplings θ; both wander slowly
(a random walk reflected at the ends keeps them uniform), and its configurations follow p_t(·; θ)
by Metropolis-adjusted Langevin moves, cluster flips (clusters.py) and the exact global move φ → -φ,
which every p_t allows. So each group is at all times a sample of the density at its own (t, θ),
whatever the flow is worth.

The Langevin noise is drawn with the covariance of a free field, P_k = ½/(a + t·stiffness·k̂²), so
that stiff modes do not set the step (Fourier acceleration). Steps adapt to an acceptance of 0.6.
With annealing replaced by moves along the flow these are the walkers of NETS (arXiv:2410.02711).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lattice_flows.clusters import flip_cluster
from lattice_flows.fields.field import Ranges
from lattice_flows.interpolation import LinearPath
from theories.lattice import bond_energy, filter_modes, laplacian_eigenvalues

_DRIFT = 0.02  # of t and of the couplings (in units of their ranges) in one move
_ACCEPTANCE, _ADAPTATION = 0.6, 0.05


class Walkers(NamedTuple):
    """G groups of n configurations.

    phi: (G, n, *shape). t: (G,) in [0, 1]. place: (G, k) in [0, 1], the position within each range.
    log_step: (G,).
    """

    phi: jax.Array
    t: jax.Array
    place: jax.Array
    log_step: jax.Array


@dataclass(frozen=True)
class Couplings:
    """The couplings of a training: fixed values and ranges, and points within the ranges."""

    fixed: Any  # the theory's NamedTuple
    ranges: Ranges

    def at(self, place: jax.Array, opened: jax.Array | float = 1.0) -> Any:
        """The couplings at `place` (k,) in [0, 1]; ranges are `opened` from their low end."""
        values = {
            name: low + (high - low) * opened * place[i]
            for i, (name, (low, high)) in enumerate(self.ranges.items())
        }
        moved = self.fixed._replace(**values)
        return type(moved)(*(jnp.asarray(value, place.dtype) for value in moved))


def start(
    path: LinearPath, params: Any, key: jax.Array, couplings: Couplings, groups: int, size: int
) -> Walkers:
    """Walkers at t = 0, exact draws of the base; their times are 0 until they are annealed."""
    place_key, phi_key = jax.random.split(key)
    place = jax.random.uniform(place_key, (groups, len(couplings.ranges)))
    keys = jax.random.split(phi_key, (groups, size))

    def draw(keys: jax.Array, place: jax.Array) -> jax.Array:
        return jax.vmap(lambda k: path.base.sample(params, k, couplings.at(place)))(keys)

    return Walkers(jax.vmap(draw)(keys, place), jnp.zeros(groups), place, jnp.full(groups, -1.0))


def anneal(
    path: LinearPath,
    params: Any,
    key: jax.Array,
    couplings: Couplings,
    walkers: Walkers,
    end: jax.Array,
    moves: int = 400,
) -> Walkers:
    """Carry walkers from their base draws to the times `end` (G,), in `moves` equal steps."""

    def step(walkers: Walkers, progress_key: tuple) -> tuple[Walkers, None]:
        progress, key = progress_key
        walkers = walkers._replace(t=end * progress)
        return move(path, params, key, couplings, walkers)[0], None

    # the last fifth of the moves is made at the end
    progress = jnp.minimum(1.0, jnp.linspace(1.25 / moves, 1.25, moves, dtype=end.dtype))
    return jax.lax.scan(step, walkers, (progress, jax.random.split(key, moves)))[0]


def wander(key: jax.Array, walkers: Walkers) -> Walkers:
    """Move times and places by one step of a reflected random walk."""
    t_key, place_key = jax.random.split(key)

    def step(key: jax.Array, x: jax.Array) -> jax.Array:
        moved = jnp.abs(x + _DRIFT * jax.random.normal(key, x.shape, x.dtype))
        return 1 - jnp.abs(1 - moved)

    return walkers._replace(t=step(t_key, walkers.t), place=step(place_key, walkers.place))


def move(
    path: LinearPath,
    params: Any,
    key: jax.Array,
    couplings: Couplings,
    walkers: Walkers,
    opened: jax.Array | float = 1.0,
) -> tuple[Walkers, jax.Array]:
    """Move every configuration: Metropolis-adjusted Langevin, a cluster flip, a random sign.

    Returns the walkers and the mean acceptance of the Langevin moves of each group, (G,).
    """
    theory = path.base.theory
    momenta = jnp.asarray(laplacian_eigenvalues(theory.shape), walkers.phi.dtype)

    def group(keys, phi, t, place, log_step):
        theta = couplings.at(place, opened)
        stiffness = t * jnp.asarray(theory.stiffness(theta), phi.dtype)
        scale = jnp.sqrt(jnp.asarray(theory.quartic(theta), phi.dtype))
        local = 6 * scale + jnp.abs(jnp.asarray(theory.quadratic(theta), phi.dtype))
        # a displacement has the covariance 2·step·P; rescaled by its root it is white noise
        root = jnp.sqrt(jnp.exp(log_step) / (local + stiffness * momenta))

        def energy(x):
            return path.energy(params, t, x, theta)

        def moves(key, x):
            langevin_key, cluster_key, sign_key = jax.random.split(key, 3)
            x, acceptance = _langevin(langevin_key, x, energy, root)
            x = _flip(cluster_key, x, energy, stiffness)
            return jax.random.rademacher(sign_key, (), x.dtype) * x, acceptance

        moved, acceptance = jax.vmap(moves)(keys, phi)
        return moved, jnp.mean(acceptance)

    keys = jax.random.split(key, walkers.phi.shape[:2])
    phi, acceptance = jax.vmap(group)(keys, walkers.phi, walkers.t, walkers.place, walkers.log_step)
    log_step = walkers.log_step + _ADAPTATION * (acceptance - _ACCEPTANCE)
    return walkers._replace(phi=phi, log_step=log_step), acceptance


Energy = Callable[[jax.Array], jax.Array]


def _langevin(
    key: jax.Array, x: jax.Array, energy: Energy, root: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One Metropolis-adjusted Langevin move, and the probability of its acceptance."""
    noise_key, accept_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, x.shape, x.dtype)
    before, gradient = jax.value_and_grad(energy)(x)
    proposal = x + filter_modes(root, noise - 0.5 * filter_modes(root, gradient))
    after, gradient_there = jax.value_and_grad(energy)(proposal)
    back = filter_modes(1 / root, x - proposal) + 0.5 * filter_modes(root, gradient_there)
    log_ratio = before - after + 0.5 * (jnp.sum(noise**2) - jnp.sum(back**2))
    return _metropolis(accept_key, log_ratio, proposal, x), jnp.exp(jnp.minimum(log_ratio, 0))


def _flip(key: jax.Array, x: jax.Array, energy: Energy, stiffness: jax.Array) -> jax.Array:
    """One cluster flip with the bonds of p_t; the rest of the energy is left to Metropolis."""
    cluster_key, accept_key = jax.random.split(key)
    proposal = flip_cluster(cluster_key, x, 2 * stiffness)

    def rest(x):
        return energy(x) - stiffness * bond_energy(x)

    return _metropolis(accept_key, rest(x) - rest(proposal), proposal, x)


def _metropolis(
    key: jax.Array, log_ratio: jax.Array, proposal: jax.Array, x: jax.Array
) -> jax.Array:
    """The proposal with probability min(1, e^{log_ratio}), else x; x where that is NaN."""
    accepted = jnp.log(jax.random.uniform(key, (), x.dtype)) < log_ratio
    return jnp.where(accepted, proposal, x)
