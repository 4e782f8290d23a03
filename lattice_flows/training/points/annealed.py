"""Points that know p_t: persistent annealed walkers (mcmc/walkers.py), alone or with own
trajectories.

"mixed" adds to every group of walkers some points of the flow's *own* trajectories, base draws
carried to the group's time by the present flow: there the residual is felt where a flow that is not
right yet goes. They tell nothing of p_t, so C_t comes from the walkers alone.

"stretched" adds walkers whose mean over the lattice is *stretched*, out to where p_t has no draws
but densities at other couplings do: a flow that is to be carried there by TRADE must be right there
(objectives/trade.py).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from lattice_flows.flows.params import Params
from lattice_flows.mcmc import walkers as annealed
from lattice_flows.mcmc.walkers import Walkers
from lattice_flows.training.points.points import Points
from lattice_flows.training.problem import Problem
from theories.shapes import Scalar

WALKERS_A_GROUP, OWN_A_GROUP = 12, 4
_MOVES = 2  # of every walker in a training step
_STRETCHED_A_GROUP, _STRETCH = 4, 2.5  # and the largest factor
_OWN_STEPS = 4  # midpoint steps to an own point: where it lies exactly does not matter


@dataclass(frozen=True)
class Annealed:
    """Persistent walkers, and with each group of them own points or stretched ones where asked."""

    problem: Problem
    own: bool = True
    stretched: bool = False

    def init(self, params: Params, key: jax.Array) -> Walkers:
        """Walkers annealed to times spread evenly over [0, 1]."""
        start_key, anneal_key = jax.random.split(key)
        problem = self.problem
        groups = max(2, problem.batch // (WALKERS_A_GROUP + OWN_A_GROUP))
        walkers = annealed.start(
            problem.path, params, start_key, problem.couplings, groups, WALKERS_A_GROUP
        )
        times = jnp.linspace(0.0, 1.0, groups, dtype=walkers.t.dtype)
        return annealed.anneal(problem.path, params, anneal_key, problem.couplings, walkers, times)

    def draw(
        self, params: Params, state: Walkers, key: jax.Array, fraction: Scalar
    ) -> tuple[Points, Walkers, dict[str, Scalar]]:
        problem = self.problem
        walk_key, own_key, *move_keys, stretch_key = jax.random.split(key, 3 + _MOVES)

        def move(walkers: Walkers, key: jax.Array) -> tuple[Walkers, jax.Array]:
            return annealed.move(problem.path, params, key, problem.couplings, walkers, fraction)

        # a loop, for a move takes long to compile
        walkers = annealed.random_walk(walk_key, state)
        walkers, acceptance = jax.lax.scan(move, walkers, jnp.stack(move_keys))
        groups, n = walkers.phi.shape[:2]
        reference = jnp.full((groups, n), 1 / n)
        # C_t is estimated from the same n walkers: (n-1)/n of the variance is left of it
        weight = jnp.full((groups, n), n / (n - 1))
        phi, others = walkers.phi, []
        if self.own:
            others.append(self._own_points(params, own_key, walkers, fraction))
        if self.stretched:
            others.append(_stretched(stretch_key, phi))
        if others:
            other = jnp.concatenate(others, axis=1)
            phi = jnp.concatenate([phi, other], axis=1)
            reference = jnp.concatenate([reference, jnp.zeros(other.shape[:2])], axis=1)
            weight = jnp.concatenate([weight, jnp.ones(other.shape[:2])], axis=1)
        points = Points(phi, walkers.t, walkers.position, reference, weight / weight.size)
        return points, walkers, {"acceptance": jnp.mean(acceptance[-1])}

    def _own_points(
        self, params: Params, key: jax.Array, walkers: Walkers, fraction: Scalar
    ) -> jax.Array:
        """(G, OWN_A_GROUP, *shape) base draws, carried to each group's time (midpoint rule)."""
        flow, couplings = self.problem.flow, self.problem.couplings

        def carry(key, t, position):
            theta = couplings.at(position, fraction)
            phi = flow.base.sample(params.base, key, theta)
            h = t / _OWN_STEPS

            def step(phi, i):
                half = phi + 0.5 * h * flow.velocity(params, i * h, phi, theta)[0]
                return phi + h * flow.velocity(params, (i + 0.5) * h, half, theta)[0], None

            return jax.lax.scan(step, phi, jnp.arange(_OWN_STEPS, dtype=phi.dtype))[0]

        keys = jax.random.split(key, (len(walkers.t), OWN_A_GROUP))
        group = jax.vmap(carry, in_axes=(0, None, None))
        return jax.vmap(group)(keys, walkers.t, walkers.position)


def _stretched(key: jax.Array, phi: jax.Array) -> jax.Array:
    """The first walkers of each group, their means multiplied by a factor from 1 to _STRETCH."""
    few = phi[:, :_STRETCHED_A_GROUP]
    shape = (*few.shape[:2], *(1,) * (few.ndim - 2))
    factor = jax.random.uniform(key, shape, few.dtype, 1.0, _STRETCH)
    mean = jnp.mean(few, axis=tuple(range(2, few.ndim)), keepdims=True)
    return few + (factor - 1) * mean
