"""TRADE for a conditioned flow, with a loss at the boundary (Wahl et al., arXiv:2410.19492).

    L = L_boundary(θ₀) + a ⟨ √(1 + R²) - 1 ⟩,      R = ∂_t log q + ∂_t S - ⟨∂_t S⟩

At θ₀, where a flow was trained before, it is held by maximum likelihood on samples, reverse KL, or
the deformation loss. On lines θ(t) from there to the ends of the ranges (lines.py) log q is to
change with the couplings, at a fixed φ, as log p does. φ are draws of the flow itself, held fixed;
∂_t log q is exact, by the tangents of the flow run backwards (flows/flow.py). Each step visits some
points of a grid of times, drawn as they count: those near θ₀ at first, later all, as ε decays.

The two terms are balanced: a is the running ratio of the norms of their gradients.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from lattice_flows.flows.params import Params
from lattice_flows.training.objectives.deformation import Deformation
from lattice_flows.training.objectives.likelihood import Likelihood
from lattice_flows.training.objectives.lines import Average, average, causal, lines, remembered
from lattice_flows.training.objectives.objective import Objective
from lattice_flows.training.objectives.reverse_kl import ReverseKL
from lattice_flows.training.problem import Problem
from theories.shapes import Scalar

BOUNDARIES = {
    "samples": Likelihood.with_draws,
    "reverse-kl": ReverseKL,
    "deformation": Deformation,
}
"""The loss at the boundary, by name: (problem) -> Objective."""

_POINTS = 24  # of the grid on a line
_AT_ONCE = 4  # of them in one training step
_CAUSALITY, _DECAY = 5.0, 0.997  # ε at the start, and from one step to the next
_LARGEST = 5.0  # weight of one draw in the loss, where all have 1 on average
_BALANCING = 0.02  # of the running ratio, in one step


class Teaching(NamedTuple):
    """What is known between steps.

    boundary: the state of the loss there. average: of ∂_t S, (L, T). loss: (L, T). epsilon: of
    causality. norms: (2,), running ones of the gradients of L_boundary and of the residual's loss.
    """

    boundary: Any
    average: Average
    loss: jax.Array
    epsilon: jax.Array
    norms: jax.Array


@dataclass(frozen=True, eq=False)
class ConditionedTrade:
    """A loss at the boundary, and the TRADE residual on lines through the coupling ranges."""

    problem: Problem
    boundary: Objective

    @classmethod
    def with_boundary(cls, problem: Problem) -> "ConditionedTrade":
        """The objective of a problem that names a boundary."""
        assert problem.trained is not None
        there = replace(problem, couplings=problem.trained)
        return cls(problem, BOUNDARIES[problem.boundary](there))

    @cached_property
    def lines(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Places (L, k) in the ranges where lines begin and where they end."""
        anchor = self.problem.anchor
        assert anchor is not None  # Config refuses TRADE from nowhere
        return lines(self.problem.couplings, anchor)

    @property
    def times(self) -> NDArray[np.float64]:
        return np.linspace(0, 1, _POINTS)

    def init(self, params: Params, key: jax.Array) -> Teaching:
        none = jnp.zeros((len(self.lines[0]), _POINTS))
        epsilon, norms = jnp.asarray(_CAUSALITY), jnp.zeros(2)
        return Teaching(self.boundary.init(params, key), Average(none, none), none, epsilon, norms)

    def loss(
        self, params: Params, state: Teaching, key: jax.Array, fraction: Scalar
    ) -> tuple[Scalar, tuple[Teaching, dict[str, Scalar]]]:
        """The balanced sum; its gradient is that of both terms, with `a` held fixed.

        Causality is the curriculum of the residual; all of the boundary is open from the start.
        """
        frozen, (boundary_key, key) = jax.lax.stop_gradient(params), jax.random.split(key)

        def at_boundary(trained: Params):
            return self.boundary.loss(
                trained._replace(base=frozen.base), state.boundary, boundary_key, fraction
            )

        def between(trained: Params):
            return self._residuals(trained._replace(base=frozen.base), state, key)

        trained = params._replace(base=())
        held = jax.lax.stop_gradient(trained)
        (there, (boundary, _)), pull = jax.value_and_grad(at_boundary, has_aux=True)(held)
        (along, (average, loss, ess)), push = jax.value_and_grad(between, has_aux=True)(held)
        fresh = jnp.stack([optax.tree.norm(pull), optax.tree.norm(push)])
        usable = jnp.all(jnp.isfinite(fresh))
        mixed = jnp.where(
            state.norms > 0, (1 - _BALANCING) * state.norms + _BALANCING * fresh, fresh
        )
        norms = jnp.where(usable, mixed, state.norms)
        balance = jnp.where(norms[1] > 0, norms[0] / norms[1], 1.0)
        gradient = jax.tree.map(lambda a, b: a + balance * b, pull, push)
        # a function with this gradient, and the value of the sum
        products = jax.tree.map(lambda g, p, h: jnp.sum(g * (p - h)), gradient, trained, held)
        value = there + balance * along + optax.tree.sum(products)
        state = Teaching(boundary, average, loss, _DECAY * state.epsilon, norms)
        metrics = {"boundary": there, "residual": along, "balance": balance, "ess": jnp.mean(ess)}
        return value, (state, metrics)

    def _residuals(
        self, params: Params, state: Teaching, key: jax.Array
    ) -> tuple[jax.Array, tuple[Average, jax.Array, jax.Array]]:
        """The mean penalty at some points of the lines, and what is known of all afterwards."""
        point_key, *draw_keys = jax.random.split(key, 1 + _AT_ONCE)
        likely = causal(state.loss, state.epsilon).reshape(-1)
        chosen = jax.random.choice(
            point_key, likely.size, (_AT_ONCE,), replace=False, p=likely / jnp.sum(likely)
        )
        line, place = jnp.divmod(chosen, _POINTS)
        known = jax.tree.map(lambda x: x[line, place], state.average)
        starts, ends, times = (jnp.asarray(x, likely.dtype) for x in (*self.lines, self.times))
        loss, known, ess = jax.vmap(lambda *at: self._point(params, *at))(
            jnp.stack(draw_keys), starts[line], ends[line], times[place], known
        )
        averages = jax.tree.map(lambda x, new: x.at[line, place].set(new), state.average, known)
        before = state.loss[line, place]
        losses = state.loss.at[line, place].set(remembered(before, jax.lax.stop_gradient(loss)))
        return jnp.mean(loss), (averages, losses, ess)

    def _point(
        self,
        params: Params,
        key: jax.Array,
        start: jax.Array,
        end: jax.Array,
        t: jax.Array,
        known: Average,
    ) -> tuple[jax.Array, Average, jax.Array]:
        """The mean penalty at time t of a line between positions, the running average, the ESS."""
        problem = self.problem

        def line(t: jax.Array) -> Any:
            return problem.couplings.at(start + t * (end - start))

        theta, direction = jax.jvp(line, (t,), (jnp.ones_like(t),))
        n = max(16, problem.batch // _AT_ONCE)
        phi, log_q = problem.flow.sample(jax.lax.stop_gradient(params), key, theta, n)
        phi, log_q = jax.lax.stop_gradient((phi, log_q))
        _, rate = problem.flow.log_prob_tangents(
            params,
            phi,
            theta,
            jnp.zeros((1, *phi.shape), phi.dtype),
            jax.tree.map(lambda x: x[None], direction),
        )
        action, slope = jax.vmap(
            lambda x: jax.jvp(lambda c: problem.path.target(x, c), (theta,), (direction,))
        )(phi)
        # ∂_t log q has mean 0 under q, and near q = p takes the noise of ∂_t S with it
        both = rate[0] + slope
        centre, known, ess = average(-action - log_q, jax.lax.stop_gradient(both), known)
        weights = jnp.minimum(jax.nn.softmax(-action - log_q), _LARGEST / n)
        return jnp.sum(weights * (jnp.sqrt(1 + (both - centre) ** 2) - 1)), known, ess
