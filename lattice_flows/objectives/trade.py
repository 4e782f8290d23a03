"""TRADE: a flow taught by the couplings' derivative (Wahl et al., arXiv:2410.19492).

    ∂_θ log p(φ; θ) = ⟨∂_θ S⟩_θ - ∂_θ S(φ; θ)

holds for the target at every θ. A flow that is right at a boundary θ₀ and whose own ∂_θ log q obeys
this on its own draws is right everywhere. Here the flow goes on from a trained one at θ₀ along
straight lines θ(t) (transport.py), so that the boundary holds by construction, and at a fixed φ

    ∂_t log q = -∇·V - ⟨V, s⟩,      s = ∇ log q_t,      ds/dt = -(∂V/∂φ)ᵀ s - ∇(∇·V):

one solution gives the residual at every coupling on a line. The loss is its Huber penalty on the
draws with their weights, the score held fixed. The averages ⟨∂_t S⟩, with the same weights, are
kept as running averages at a grid of times on a set of lines. Two things keep a line from learning
of what it does not know yet: points count the less, the further the ESS of their weights, and of
those before them, falls below a half; and as e^{-ε Σ losses between θ₀ and the point}, so that
learning spreads outwards.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lattice_flows.flow import Flow
from lattice_flows.params import Params
from lattice_flows.setting import Setting
from lattice_flows.transport import FlowBase

_POOL = 4096  # draws of the boundary, made once
_STEPS = 12  # of the solver in training, and points on a line
_LINES = 16  # for each coupling that varies, where several do
_AT_ONCE = 4  # lines in one training step
_MEMORY = 0.9  # of the running averages, from one visit to the next
_GATE = 0.1  # ESS below which the weights say nothing of an average
_BELIEVED = 0.5  # ESS below which a point, and those behind it, count for less
_CAUSALITY = 2.0  # ε
_LARGEST = 5.0  # weight of one draw in the loss, where all have 1 on average


class Knowledge(NamedTuple):
    """Draws of the boundary, and what is known at T points of each of L lines.

    phi: (P, *shape), log_q: (P,), score: (P, *shape). mean: (L, T), ⟨∂_t S⟩. count: (L, T),
    effective draws in it. loss: (L, T).
    """

    phi: jax.Array
    log_q: jax.Array
    score: jax.Array
    mean: jax.Array
    count: jax.Array
    loss: jax.Array


@dataclass(frozen=True)
class Trade:
    """The TRADE residual of the setting's flow on lines through the coupling ranges."""

    setting: Setting

    @cached_property
    def ends(self) -> NDArray[np.float64]:
        """Places (L, k) in the ranges where the lines end.

        Of a single range its ends, but for the one that the flow was trained at; of a box,
        quasi-random points of its surface (Roberts' additive recurrence, each carried outwards to
        a face).
        """
        base, couplings = self.setting.flow.base, self.setting.couplings
        k = len(couplings.ranges)
        if k == 1:
            assert isinstance(base, FlowBase)
            ((name, ends),) = couplings.ranges.items()
            known = [getattr(end, name) for end in (base.anchor.low, base.anchor.high)]
            return np.array(
                [[float(i)] for i, end in enumerate(ends) if not known[0] <= end <= known[1]]
            )
        golden = np.roots([1, *[0] * (k - 1), -1, -1]).real.max()
        points = (
            np.outer(np.arange(1, _LINES * k + 1), golden ** -np.arange(1.0, k + 1)) + 0.5
        ) % 1
        away = points - 0.5
        return 0.5 + 0.5 * away / np.abs(away).max(axis=1, keepdims=True)

    @property
    def times(self) -> NDArray[np.float64]:
        return np.linspace(0, 1, _STEPS + 1)

    def init(self, params: Params, key: jax.Array) -> Knowledge:
        setting = self.setting
        theta = setting.couplings.at(jnp.full(len(setting.couplings.ranges), 0.5))
        draws = setting.flow.base.draw_with_score(params.base, key, theta, _POOL)
        known = jnp.zeros((len(self.ends), _STEPS + 1))
        return Knowledge(*draws, known, known, known)

    def loss(
        self, params: Params, state: Knowledge, key: jax.Array, opened: jax.Array
    ) -> tuple[jax.Array, tuple[Knowledge, dict[str, jax.Array]]]:
        setting = self.setting
        line_key, draw_key = jax.random.split(key)
        lines = min(_AT_ONCE, len(self.ends))
        chosen = jax.random.choice(line_key, len(self.ends), (lines,), replace=False)
        ends = jnp.asarray(self.ends, state.mean.dtype)[chosen]
        n = max(16, setting.batch // (8 * lines))
        picked = jax.random.randint(draw_key, (lines, n), 0, _POOL)

        def line(place, picked, mean, count, loss):
            theta = setting.couplings.at(place, opened)
            phi, log_q, score = self._trajectories(
                jax.lax.stop_gradient(params), state, picked, theta
            )
            known = count * _MEMORY

            def at(t, phi, log_q, score, mean, known):
                energy, rate, slope = jax.vmap(lambda x, s: self._slopes(params, t, x, s, theta))(
                    phi, score
                )
                weights = jax.nn.softmax(-energy - log_q)
                effective = 1 / jnp.sum(weights**2)
                share = known / (known + effective)
                # ∂_t log q has mean 0 under q, and near q = p takes the noise of ∂_t S with it
                both = jax.lax.stop_gradient(rate + slope)
                mean = share * mean + (1 - share) * jnp.sum(weights * both)
                trusted = effective > _GATE * n
                centre = jnp.where(trusted, mean, jnp.mean(both))
                huber = jnp.sqrt(1 + (slope + rate - centre) ** 2) - 1
                huber = jnp.sum(jnp.minimum(weights, _LARGEST / n) * huber)
                return huber, effective, mean, known + effective

            times = jnp.asarray(self.times, phi.dtype)
            losses, effective, means, counts = jax.vmap(at)(times, phi, log_q, score, mean, known)
            trusted = effective > _GATE * n
            # as far as the draws can be believed, at the point and all the way to it
            believed = jnp.cumprod(jnp.minimum(1, effective / (_BELIEVED * n)))
            counts_for = believed * jnp.exp(-_CAUSALITY * (jnp.cumsum(loss) - loss))
            past = jnp.minimum(jax.lax.stop_gradient(losses), 10.0)
            new = (
                jnp.where(trusted, means, mean),
                jnp.where(trusted, counts, count),
                _MEMORY * loss + (1 - _MEMORY) * past,
            )
            return jnp.mean(counts_for * losses), new, effective / n

        known = tuple(x[chosen] for x in (state.mean, state.count, state.loss))
        losses, (mean, count, loss), ess = jax.vmap(line)(ends, picked, *known)
        state = state._replace(
            mean=state.mean.at[chosen].set(mean),
            count=state.count.at[chosen].set(count),
            loss=state.loss.at[chosen].set(loss),
        )
        metrics = {"ess": jnp.mean(ess), "ess_at_end": jnp.mean(ess[:, -1])}
        return jnp.mean(losses), (state, metrics)

    def _slopes(
        self, params: Params, t: jax.Array, phi: jax.Array, score: jax.Array, couplings: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """f_t, ∂_t f_t and ∂_t log q_t of one configuration with the score of q_t."""
        path = self.setting.path
        velocity, divergence = self.setting.flow.velocity(params, t, phi, couplings)
        energy, rate = (f(params, t, phi, couplings) for f in (path.energy, path.rate))
        return energy, rate, -divergence - jnp.sum(velocity * score)

    def _trajectories(
        self, params: Params, state: Knowledge, picked: jax.Array, couplings: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """φ (T, n, *shape), log q (T, n) and scores (T, n, *shape) from draws of the boundary."""
        flow: Flow = replace(self.setting.flow, steps=_STEPS)
        start = state.phi[picked], state.log_q[picked], state.score[picked]
        return flow.transport_with_score(params, *start, couplings, self.times)
