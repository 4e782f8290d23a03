"""Reverse KL, the baseline: the mean of log q + f₁ over the flow's own draws.

It is KL(q‖p) - log Z, a variational free energy: it needs no samples of p and cannot see a region
that the flow does not visit. An odd flow has the even target (flows/symmetry.py), and
its ± wells cannot be lost to each other; other wells can be.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Float

from lattice_flows.flows.params import Params
from lattice_flows.training.problem import Problem
from theories.shapes import Array, Point, Scalar

_A_GROUP = 16  # draws that share their couplings


@dataclass(frozen=True)
class ReverseKL:
    """The variational free energy, averaged over the coupling ranges."""

    problem: Problem

    def init(self, params: Params, key: jax.Array) -> tuple[()]:
        return ()

    def loss(
        self, params: Params, state: tuple[()], key: jax.Array, fraction: Scalar
    ) -> tuple[Scalar, tuple[tuple[()], dict[str, Scalar]]]:
        couplings = self.problem.couplings
        position_key, draw_key = jax.random.split(key)
        # one set of couplings at all serves every draw where nothing varies
        groups = max(1, self.problem.batch // _A_GROUP) if couplings.ranges else 1
        positions = jax.random.uniform(position_key, (groups, len(couplings.ranges)))

        def group(key, position):
            theta = couplings.at(position, fraction)
            return self.free_energy(params, key, theta, max(2, self.problem.batch // groups))

        free_energy = jax.vmap(group)(jax.random.split(draw_key, groups), positions)
        metrics = {"spread": jnp.mean(jnp.std(free_energy, axis=1))}
        return jnp.mean(free_energy), (state, metrics)

    def free_energy(
        self, params: Params, key: jax.Array, couplings: Point, n: int
    ) -> Float[Array, " {n}"]:
        """log q + f₁ of n draws of the flow at one set of couplings."""
        phi, log_q = self.problem.flow.sample(params, key, couplings, n)
        return log_q + jax.vmap(lambda x: self.problem.path.target(x, couplings))(phi)
