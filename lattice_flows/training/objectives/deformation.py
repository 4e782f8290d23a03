"""The deformation loss of Máté & Fleuret, arXiv:2301.07388.

A field V carries p_t = e^{-f_t}/Z_t along exactly where the residual

    E(φ, t) = ∂_t f_t + ⟨∇f_t, V⟩ - ∇·V + C_t,      C_t = ∂_t log Z_t = -⟨∂_t f_t⟩_{p_t}

vanishes. The loss is the mean of L(E), E² unless another of `PENALTIES` is chosen, over evaluation
points (points/). What is learned of the path f_t is trained with the field.

C_t is a statement about p_t: by Stein's identity ⟨⟨∇f, V⟩ - ∇·V⟩ = 0 under p_t, so minus the mean
of the other three terms over points that stand for p_t estimates C_t, with a variance that vanishes
as the flow gets right. For a penalty that grows slower than E² minus the median is the C_t that
makes it smallest. Or it is a network, trained with the rest. On the flow's own trajectories the
loss has a spurious minimum, a flow that stays near the base, with a wrong C_t.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.flows.fields import time_network
from lattice_flows.flows.params import Params
from lattice_flows.training.points import SOURCES, Points, Source
from lattice_flows.training.problem import Problem
from theories.outside import part
from theories.shapes import Scalar

PENALTIES = {
    "squared": jnp.square,
    "absolute": jnp.abs,
    "sum": lambda e: jnp.abs(e) + e**2,
    "logarithmic": lambda e: jnp.log1p(jnp.abs(e)),
    "huber": lambda e: jnp.sqrt(1 + e**2) - 1,
}
"""L(E), by name; Máté & Fleuret use the sum."""
_BY_MEAN = ("squared", "sum", "huber")  # C_t by the mean of a group, else by its median


@dataclass(frozen=True)
class Deformation:
    """The deformation loss along the problem's path."""

    problem: Problem

    @cached_property
    def source(self) -> Source:
        return part(self.problem.points, SOURCES)(self.problem)

    def init(self, params: Params, key: jax.Array) -> Any:
        return self.source.init(params, key)

    def loss(
        self, params: Params, state: Any, key: jax.Array, fraction: Scalar
    ) -> tuple[Scalar, tuple[Any, dict[str, Scalar]]]:
        problem = self.problem
        points, state, metrics = self.source.draw(
            jax.lax.stop_gradient(params), state, key, fraction
        )

        def residuals(phi, t, position):
            theta = problem.couplings.at(position, fraction)
            return jax.vmap(lambda x: problem.path.residual(params, problem.flow, t, x, theta))(phi)

        parts = jax.vmap(residuals)(points.phi, points.t, points.position)
        c = self._constant(params, points, parts, fraction)
        penalised = PENALTIES[problem.penalty](parts + c[:, None])
        metrics |= {"residual": jnp.mean(jnp.sum(points.reference * penalised, axis=1))}
        return jnp.sum(points.weight * penalised), (state, metrics)

    def _constant(
        self, params: Params, points: Points, parts: jax.Array, fraction: Scalar
    ) -> jax.Array:
        """C_t of each group, (G,)."""
        problem = self.problem
        if problem.constant == "network":

            def at(t: jax.Array, position: jax.Array) -> jax.Array:
                theta = problem.couplings.at(position, fraction)
                return time_network(problem.flow.base.theory, problem.couplings.ranges).apply(
                    params.constant, t, points.phi[0, 0], theta
                )

            return jax.vmap(at)(points.t, points.position)
        if problem.penalty in _BY_MEAN:
            return -jnp.sum(points.reference * parts, axis=1)
        return -jax.vmap(_median)(parts, points.reference)


def _median(values: jax.Array, weights: jax.Array) -> jax.Array:
    """The weighted median of values (n,); the middle of two where it lies between them."""
    order = jnp.argsort(values)
    below = jnp.cumsum(weights[order])
    half = 0.5 * below[-1]
    slack = 1e-5 * half  # of rounding
    positions = jnp.stack(
        [jnp.searchsorted(below, half - slack), jnp.searchsorted(below, half + slack)]
    )
    return jnp.mean(values[order[jnp.minimum(positions, len(values) - 1)]])
