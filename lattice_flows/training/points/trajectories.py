"""The flow's own trajectories (Máté & Fleuret, arXiv:2301.07388), and weighted ones.

Base draws are carried by the present flow from t = 0 to 1, and every configuration on the way is a
point. Along a trajectory its weight as a draw of p_t grows by

    d(log w)/dt = -(∂_t f + ⟨∇f, V⟩ - ∇·V),

at no cost. Unweighted, as in the paper's code, the points say nothing of p_t where the flow does
not go. "particles" points follow the weights: they are moved by the Markov moves of p_t, too
(which leaves the weights what they are), and resampled where few of them carry all the weight: the
particles of NETS (arXiv:2410.02711) and LFIS (arXiv:2405.06672).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.flows.params import Params
from lattice_flows.mcmc import moves
from lattice_flows.training.points.points import Points
from lattice_flows.training.problem import Problem
from theories.shapes import Point, Scalar

_TIMES = 16  # of a trajectory at which it is a point
_SUBSTEPS = 1  # midpoint steps between two of them
_SETS = 4  # of couplings, where they are ranges
_ENOUGH = 0.5  # resampled when the effective sample size falls below this
_LOG_STEP = -1.0  # of the Langevin moves


@dataclass(frozen=True)
class Trajectories:
    """Trajectories of the present flow, fresh ones in every step; `particles` is told above."""

    problem: Problem
    particles: bool = False

    def init(self, params: Params, key: jax.Array) -> tuple[()]:
        return ()

    def draw(
        self, params: Params, state: Any, key: jax.Array, fraction: Scalar
    ) -> tuple[Points, Any, dict[str, Scalar]]:
        position_key, draw_key = jax.random.split(key)
        ranges = len(self.problem.couplings.ranges)
        sets = _SETS if ranges else 1
        n = max(2, self.problem.batch // (_TIMES * sets))
        positions = jax.random.uniform(position_key, (sets, ranges))
        keys = jax.random.split(draw_key, sets)
        phi, t, log_weight = jax.vmap(lambda k, p: self._follow(params, k, p, n, fraction))(
            keys, positions
        )
        relative = jax.nn.softmax(log_weight, axis=-1)
        reference = relative.reshape(sets * _TIMES, n)
        points = Points(
            phi.reshape(sets * _TIMES, *phi.shape[2:]),
            t.reshape(-1),
            jnp.repeat(positions, _TIMES, axis=0),
            reference,
            reference / len(reference),
        )
        ess = 1 / (n * jnp.sum(relative[:, -1] ** 2, axis=-1))
        return points, state, {"ess": jnp.mean(ess)}

    def _follow(
        self, params: Params, key: jax.Array, position: jax.Array, n: int, fraction: Scalar
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Configurations (T, n, *shape), times (T,), and log-weights (T, n) of n trajectories."""
        problem = self.problem
        theta = problem.couplings.at(position, fraction)
        base_key, time_key, key = jax.random.split(key, 3)
        draw = jax.vmap(lambda k: problem.flow.base.sample(params.base, k, theta))
        phi = draw(jax.random.split(base_key, n))
        # both ends, and a grid between them at a random offset
        offset = jax.random.uniform(time_key, (), phi.dtype)
        inner = (jnp.arange(_TIMES - 2, dtype=phi.dtype) + offset) / (_TIMES - 2)
        t = jnp.concatenate([jnp.zeros(1, phi.dtype), inner, jnp.ones(1, phi.dtype)])
        start = jnp.concatenate([t[:1], t[:-1]])

        def step(carry: tuple, at: tuple) -> tuple[tuple, tuple]:
            phi, log_weight = carry
            begin, end, key = at
            phi, change = self._carry(params, phi, theta, begin, end)
            if problem.weighted or self.particles:
                log_weight = log_weight + change
            if self.particles:
                phi, log_weight = self._mix(params, key, phi, log_weight, theta, end)
            return (phi, log_weight), (phi, log_weight)

        at = (start, t, jax.random.split(key, _TIMES))
        path, log_weights = jax.lax.scan(step, (phi, jnp.zeros(n, phi.dtype)), at)[1]
        return path, t, log_weights

    def _carry(
        self, params: Params, phi: jax.Array, theta: Point, begin: jax.Array, end: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Configurations carried from `begin` to `end`, and the change of their log-weights."""
        flow, path = self.problem.flow, self.problem.path
        h = (end - begin) / _SUBSTEPS

        def of_one(phi: jax.Array) -> tuple[jax.Array, jax.Array]:
            def step(carry: tuple, i: jax.Array) -> tuple[tuple, None]:
                x, divergence = carry
                t = begin + i * h
                half = x + 0.5 * h * flow.velocity(params, t, x, theta)[0]
                v, rate = flow.velocity(params, t + 0.5 * h, half, theta)
                return (x + h * v, divergence + h * rate), None

            steps = jnp.arange(_SUBSTEPS, dtype=phi.dtype)
            zero = jnp.zeros((), phi.dtype)
            (x, divergence), _ = jax.lax.scan(step, (phi, zero), steps)
            before = path.energy(params, begin, phi, theta)
            return x, before - path.energy(params, end, x, theta) + divergence

        return jax.vmap(of_one)(phi)

    def _mix(
        self,
        params: Params,
        key: jax.Array,
        phi: jax.Array,
        log_weight: jax.Array,
        theta: Point,
        t: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Resample where it is needed, then move every configuration within p_t."""
        offset_key, move_key = jax.random.split(key)
        n = len(phi)
        weights = jax.nn.softmax(log_weight)
        # systematic resampling: one offset for all
        levels = (
            jnp.arange(n, dtype=phi.dtype) + jax.random.uniform(offset_key, (), phi.dtype)
        ) / n
        chosen = jnp.minimum(jnp.searchsorted(jnp.cumsum(weights), levels), n - 1)
        few = 1 / jnp.sum(weights**2) < _ENOUGH * n
        phi = jnp.where(few, phi[chosen], phi)
        log_weight = jnp.where(few, jnp.zeros_like(log_weight), log_weight)
        log_step = jnp.asarray(_LOG_STEP, phi.dtype)
        move = jax.vmap(
            lambda k, x: moves.move(self.problem.path, params, k, t, theta, x, log_step)[0]
        )
        return move(jax.random.split(move_key, n), phi), log_weight
