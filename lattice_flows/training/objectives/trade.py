"""TRADE: a flow taught by the couplings' derivative (Wahl et al., arXiv:2410.19492).

    ∂_θ log p(φ; θ) = ⟨∂_θ S⟩_θ - ∂_θ S(φ; θ)

holds for the target at every θ. A flow that is right at a boundary θ₀ and whose own ∂_θ log q obeys
this on its own draws is right everywhere. Here the flow goes on from a trained one at θ₀ along
straight lines θ(t) (flows/continuation.py), so that the boundary holds by construction, and at a
fixed φ

    ∂_t log q = -∇·V - ⟨V, s⟩,      s = ∇ log q_t,      ds/dt = -(∂V/∂φ)ᵀ s - ∇(∇·V):

one solution gives the residual R = ∂_t log q + ∂_t S - ⟨∂_t S⟩ at every coupling on a line. It
says how log q - log p changes, and nothing of its value: what the boundary gets wrong at some φ
stays wrong there. So the boundary must be right where draws at other couplings will be (--points
wide).

At a fixed φ is one choice. Where log q - log p is not constant but e, R holds -⟨V, ∇e⟩, and a field
that is to make up for that roughens e further on. In units of the field that grow along the line as
the draws do, mode by mode, w_k = a_k φ_k with a_k = ⟨φ_k* V_k⟩/⟨|φ_k|²⟩, the derivative is

    R_w = R + ⟨w, s + ∇S⟩,

which vanishes for the same flows, and of V only V - w meets ∇e. The loss is the Huber penalty of
R_w on the draws with their weights, the score and w held fixed. A line learns outwards (lines.py):
it ends at a *front* that moves on where the ESS of the weights there is enough, back where it is
not, and ε decays as the front goes out.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from lattice_flows.flows.continuation import CouplingLine, FlowBase
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.params import Params
from lattice_flows.training.objectives.lines import Average, average, causal, lines, remembered
from lattice_flows.training.problem import Problem
from theories.lattice import filter_modes
from theories.shapes import Array, Configurations, Point, Scalar

_POOL = 4096  # draws of the boundary, made once, shared out over where lines begin
_STEPS = 12  # of the solver in training, and points on a line
_AT_ONCE = 4  # lines in one training step
_CAUSALITY = 5.0  # ε, times the part of a line that is still closed
_LARGEST = 5.0  # weight of one draw in the loss, where all have 1 on average
_FRONT = 0.02  # where it begins
_ENOUGH, _WITHIN = 0.85, 0.05  # ESS at the front; it goes at full speed this far above or below
_SPEED = 0.002  # of the front, in one visit


Draws = tuple[Configurations, Float[Array, " n"], Configurations]
"""φ, log q and its score."""
Passed = tuple[
    Float[Array, " times n *shape"], Float[Array, " times n"], Float[Array, " times n *shape"]
]
"""The same at several times."""


class Lines(NamedTuple):
    """What is known of L lines at T points each, or of one line, without the leading axis.

    average: of ∂_t S, (L, T). loss: (L, T). front: (L,), how far of each line is open.
    """

    average: Average
    loss: jax.Array
    front: jax.Array


class Knowledge(NamedTuple):
    """Draws of the boundary where lines begin, and the lines.

    phi (U, P, *shape), log_q (U, P), score (U, P, *shape), for each of U beginnings.
    """

    phi: jax.Array
    log_q: jax.Array
    score: jax.Array
    lines: Lines


class Visit(NamedTuple):
    """What one visit finds at a point of a line: the penalty, the running average with it, and the
    weights' ESS as a fraction."""

    loss: jax.Array
    average: Average
    ess: jax.Array


@dataclass(frozen=True)
class Trade:
    """The TRADE residual of the problem's flow on lines through the coupling ranges."""

    problem: Problem

    @cached_property
    def _lines(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        base = self.problem.flow.base
        assert isinstance(base, FlowBase)
        return lines(self.problem.couplings, base.anchor)

    @property
    def ends(self) -> NDArray[np.float64]:
        """Places (L, k) in the ranges where the lines end."""
        return self._lines[1]

    @property
    def beginnings(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first line from each of U positions, (U,), and where each line begins, (L,)."""
        _, first, which = np.unique(
            self._lines[0].round(9), axis=0, return_index=True, return_inverse=True
        )
        return first, which.reshape(-1)

    @property
    def times(self) -> NDArray[np.float64]:
        return np.linspace(0, 1, _STEPS + 1)

    def init(self, params: Params, key: jax.Array) -> Knowledge:
        problem = self.problem
        first, _ = self.beginnings
        n, count = _POOL // len(first), len(self.ends)

        def draw(key: jax.Array, end: jax.Array):
            theta = problem.couplings.at(end)  # the base finds where the line to it begins
            return problem.flow.base.draw_with_score(params.base, key, theta, n)

        draws = jax.vmap(draw)(jax.random.split(key, len(first)), jnp.asarray(self.ends[first]))
        none = jnp.zeros((count, _STEPS + 1))
        return Knowledge(*draws, Lines(Average(none, none), none, jnp.full(count, _FRONT)))

    def loss(
        self, params: Params, state: Knowledge, key: jax.Array, fraction: Scalar
    ) -> tuple[Scalar, tuple[Knowledge, dict[str, Scalar]]]:
        """The loss on some of the lines; the fronts are its curriculum, `fraction` is not used."""
        line_key, draw_key = jax.random.split(key)
        count = min(_AT_ONCE, len(self.ends))
        chosen = jax.random.choice(line_key, len(self.ends), (count,), replace=False)
        ends = jnp.asarray(self.ends, state.phi.dtype)[chosen]
        n = max(16, self.problem.batch // (8 * count))
        picked = jax.random.randint(draw_key, (count, n), 0, state.phi.shape[1])
        where = jnp.asarray(self.beginnings[1])[chosen, None]
        starts = (state.phi[where, picked], state.log_q[where, picked], state.score[where, picked])
        before = jax.tree.map(lambda x: x[chosen], state.lines)
        losses, after, ess = jax.vmap(lambda *of_one: self._visit(params, *of_one))(
            starts, ends, before
        )
        lines = jax.tree.map(lambda x, new: x.at[chosen].set(new), state.lines, after)
        metrics = {
            "ess": jnp.mean(ess),
            "ess_at_front": jnp.mean(ess[:, -1]),
            "front": jnp.mean(lines.front),
        }
        return jnp.mean(losses), (state._replace(lines=lines), metrics)

    def _visit(
        self, params: Params, start: Draws, end: jax.Array, line: Lines
    ) -> tuple[jax.Array, Lines, jax.Array]:
        """The loss on one line, what is known of it afterwards, and the ESS at its points."""
        path = self.problem.path
        assert isinstance(path, CouplingLine)
        theta = path.anchor.line(line.front, self.problem.couplings.at(end))
        frozen = jax.lax.stop_gradient(params)
        phi, log_q, score = self._trajectories(frozen, start, theta)
        times = jnp.asarray(self.times, phi.dtype)
        found = jax.vmap(lambda *at: self._point(params, theta, *at))(
            times, phi, log_q, score, line.average
        )
        counts = causal(line.loss, _CAUSALITY * (1 - line.front))
        ahead = jnp.clip((found.ess[-1] - _ENOUGH) / _WITHIN, -1, 1)
        known = Lines(
            found.average,
            remembered(line.loss, jax.lax.stop_gradient(found.loss)),
            jnp.clip(line.front + _SPEED * ahead, _FRONT, 1.0),
        )
        return jnp.mean(counts * found.loss), known, found.ess

    def _point(
        self,
        params: Params,
        theta: Point,
        t: jax.Array,
        phi: jax.Array,
        log_q: jax.Array,
        score: jax.Array,
        known: Average,
    ) -> Visit:
        """One point of the line to theta: draws (n, *shape), and what was known of ⟨∂_t S⟩."""
        velocity, energy, rate, slope = jax.vmap(lambda x, s: self._slopes(params, t, x, s, theta))(
            phi, score
        )
        velocity = jax.lax.stop_gradient(velocity)
        rate = rate + self._growth(params, theta, t, phi, score, velocity)
        # ∂_t log q has mean 0 under q, and near q = p takes the noise of ∂_t S with it
        both = jax.lax.stop_gradient(rate + slope)
        centre, known, ess = average(-energy - log_q, both, known)
        penalty = jnp.sqrt(1 + (slope + rate - centre) ** 2) - 1
        weights = jax.nn.softmax(-energy - log_q)
        loss = jnp.sum(jnp.minimum(weights, _LARGEST / len(phi)) * penalty)
        return Visit(loss, known, ess)

    def _growth(
        self,
        params: Params,
        theta: Point,
        t: jax.Array,
        phi: jax.Array,
        score: jax.Array,
        velocity: jax.Array,
    ) -> jax.Array:
        """⟨w, s + ∇S⟩ of draws (n, *shape), w_k = a_k φ_k, the growth of their modes."""
        axes = tuple(range(1, phi.ndim))
        modes, flowing = jnp.fft.fftn(phi, axes=axes), jnp.fft.fftn(velocity, axes=axes)
        rates = jnp.mean((modes.conj() * flowing).real, 0) / jnp.mean(jnp.abs(modes) ** 2, 0)
        force = jax.vmap(jax.grad(self.problem.path.energy, argnums=2), (None, None, 0, None))(
            params, t, phi, theta
        )
        w = jax.vmap(lambda x: filter_modes(rates, x))(phi)
        return jnp.sum(w * (score + force), axis=axes)

    def _slopes(
        self, params: Params, t: jax.Array, phi: jax.Array, score: jax.Array, couplings: Point
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """V, f_t, ∂_t f_t and ∂_t log q_t of one configuration with the score of q_t."""
        path = self.problem.path
        velocity, divergence = self.problem.flow.velocity(params, t, phi, couplings)
        energy, rate = (f(params, t, phi, couplings) for f in (path.energy, path.rate))
        return velocity, energy, rate, -divergence - jnp.sum(velocity * score)

    def _trajectories(self, params: Params, start: Draws, couplings: Point) -> Passed:
        """From draws of the boundary, φ, log q and scores at the times of the lines."""
        flow: Flow = replace(self.problem.flow, steps=_STEPS)
        return flow.integrate_with_score(params, *start, couplings, self.times)
