"""Points uniform in a box (Chemseddine et al., arXiv:2410.03282), for targets of few dimensions.

The box grows with t from the base's size to the target's. A point counts by e^{-f_t/2}, normalised
in its group, in the loss and for C_t (where E = 0 any weights give the same C_t): with e^{-f_t} few
points would count, with none the empty corners. The box does not know where p_t is, so this is of
use in two or three dimensions.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.flows.params import Params
from lattice_flows.training.points.points import Points
from lattice_flows.training.problem import Problem
from theories.shapes import Scalar

_A_GROUP = 64
_BASE_WIDTHS = 5.0  # that the box reaches at t = 0


@dataclass(frozen=True)
class Box:
    """Every component of a point uniform in a box, at t = 1 [-half_box, half_box]."""

    problem: Problem

    def init(self, params: Params, key: jax.Array) -> tuple[()]:
        return ()

    def draw(
        self, params: Params, state: Any, key: jax.Array, fraction: Scalar
    ) -> tuple[Points, Any, dict[str, Scalar]]:
        problem = self.problem
        phi_key, t_key, position_key = jax.random.split(key, 3)
        groups = max(2, problem.batch // _A_GROUP)
        shape = (groups, _A_GROUP, *problem.flow.base.theory.shape)
        t = jax.random.uniform(t_key, (groups,))
        t = (jnp.arange(groups, dtype=t.dtype) + t) / groups
        size = problem.path.extent(t)
        end = size * problem.half_box + (1 - size) * _BASE_WIDTHS * problem.flow.base.scale
        phi = end.reshape(-1, *(1,) * (len(shape) - 1)) * jax.random.uniform(
            phi_key, shape, minval=-1, maxval=1
        )
        position = jax.random.uniform(position_key, (groups, len(problem.couplings.ranges)))

        def energies(phi, t, position):
            theta = problem.couplings.at(position, fraction)
            return jax.vmap(lambda x: problem.path.energy(params, t, x, theta))(phi)

        reference = jax.nn.softmax(-0.5 * jax.vmap(energies)(phi, t, position), axis=1)
        return Points(phi, t, position, reference, reference / groups), state, {}
