"""The deformation loss in coupling space, for the fields of flows/continuation.py.

    E_j(φ; θ) = ∂_j S + ⟨∇S, u_j⟩ - ∇·u_j + C_j,      C_j = -⟨∂_j S⟩_θ

for each coupling θ_j that varies, in units of half its range. The loss is the mean square of all of
them over persistent walkers at couplings all over the ranges, which know p_θ whatever the fields
are worth; minus the mean of a group's other terms estimates C_j (deformation.py). Walkers begin as
draws of the flow that the transport starts from, annealed to couplings of their own.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.flows.fields import TransportField, TransportFields
from lattice_flows.flows.params import Params, in_precision_of
from lattice_flows.mcmc import walkers as annealed
from lattice_flows.mcmc.walkers import Walkers
from lattice_flows.training.problem import Problem
from theories.shapes import Point, Scalar

_WALKERS_A_GROUP = 16
_MOVES = 2  # of every walker in a training step


@dataclass(frozen=True)
class Transport:
    """The mean square residual over the coupling ranges."""

    problem: Problem

    @property
    def fields(self) -> TransportFields:
        field = self.problem.flow.field
        assert isinstance(field, TransportField)
        return field.fields

    def init(self, params: Params, key: jax.Array) -> Walkers:
        """Walkers at the end of the line to couplings of their own."""
        problem, (start_key, anneal_key) = self.problem, jax.random.split(key)
        groups = max(2, problem.batch // _WALKERS_A_GROUP)
        walkers = annealed.start(
            problem.path, params, start_key, problem.couplings, groups, _WALKERS_A_GROUP
        )
        ends = jnp.ones_like(walkers.t)
        return annealed.anneal(problem.path, params, anneal_key, problem.couplings, walkers, ends)

    def loss(
        self, params: Params, state: Walkers, key: jax.Array, fraction: Scalar
    ) -> tuple[Scalar, tuple[Walkers, dict[str, Scalar]]]:
        problem, frozen = self.problem, jax.lax.stop_gradient(params)
        walk_key, *move_keys = jax.random.split(key, 1 + _MOVES)
        walkers = annealed.random_walk(walk_key, state)._replace(t=state.t)

        def move(walkers: Walkers, key: jax.Array) -> tuple[Walkers, jax.Array]:
            return annealed.move(problem.path, frozen, key, problem.couplings, walkers, fraction)

        # a loop, for a move takes long to compile
        walkers, acceptance = jax.lax.scan(move, walkers, jnp.stack(move_keys))

        def group(phi: jax.Array, position: jax.Array) -> jax.Array:
            theta = problem.couplings.at(position, fraction)
            parts = jax.vmap(lambda x: self.residuals(params, x, theta))(phi)
            return jnp.var(parts, axis=0, ddof=1)

        residual = jnp.mean(jax.vmap(group)(walkers.phi, walkers.position), axis=0)
        metrics = {"residual": jnp.mean(residual), "acceptance": jnp.mean(acceptance[-1])}
        return jnp.sum(residual), (walkers, metrics)

    def residuals(self, params: Params, phi: jax.Array, couplings: Point) -> jax.Array:
        """∂_j S + ⟨∇S, u_j⟩ - ∇·u_j of one configuration, (k,), per half range of θ_j."""
        force, rates = jax.grad(self.problem.path.target, argnums=(0, 1))(phi, couplings)
        cast = in_precision_of(params.field, phi, couplings)
        velocities, divergences = self.fields.apply(params.field, *cast)
        axes = phi.ndim
        work = jnp.tensordot(velocities.astype(phi.dtype), force, axes)
        rates = per_half_range(rates, self.problem.couplings.ranges, phi.dtype)
        return rates + work - divergences.astype(phi.dtype)


def per_half_range(rates: Any, ranges: Any, dtype: Any) -> jax.Array:
    """Derivatives by the couplings, (k,), times half the range of each."""
    return jnp.stack(
        [
            0.5 * (high - low) * jnp.asarray(getattr(rates, name), dtype)
            for name, (low, high) in ranges.items()
        ]
    )
