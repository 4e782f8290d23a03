"""Lines through coupling space that a flow is taught along, outwards from couplings it is right at.

A line learns outwards: where the residual is not small, what lies further on can not be right. So a
point at distance t counts as e^{-ε Σ losses between θ₀ and the point}. Averages ⟨∂_t S⟩ at a point
are self-normalised sums over draws of the flow, believed where the effective sample size of the
weights is a good part of the draws, and run on from one visit to the next (Wahl et al.,
arXiv:2410.19492; the gate is ours).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from lattice_flows.flows.continuation import Anchor
from lattice_flows.flows.couplings import Couplings
from theories.shapes import Array, Scalar

_DIRECTIONS = 16  # for each coupling that varies, where several do
_MEMORY = 0.9  # of running averages, from one visit to the next
_GATE = 0.1  # ESS below which the weights say nothing of an average
_LARGEST_LOSS = 10.0


def lines(couplings: Couplings, anchor: Anchor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places (L, k) in the ranges where lines begin and where they end.

    They end, of a single range, at its ends; of a box, at quasi-random points of its surface
    (Roberts' additive recurrence, each carried outwards to a face). They begin where the flow was
    trained nearest to that; where it was trained at the end itself there is no line.
    """
    k = len(couplings.ranges)
    low, high = (couplings.position(end) for end in (anchor.low, anchor.high))
    if k == 1:
        ends = np.array([[0.0], [1.0]])
    else:
        golden = np.roots([1, *[0] * (k - 1), -1, -1]).real.max()
        steps = np.outer(np.arange(1, _DIRECTIONS * k + 1), golden ** -np.arange(1.0, k + 1))
        away = (steps + 0.5) % 1 - 0.5
        ends = 0.5 + 0.5 * away / np.abs(away).max(axis=1, keepdims=True)
    starts = np.clip(ends, low, high)
    leads = np.abs(ends - starts).max(axis=1) > 1e-9
    return starts[leads], ends[leads]


class Average(NamedTuple):
    """Running averages ⟨∂_t S⟩, and the effective draws in each."""

    mean: Scalar
    count: Scalar


def average(
    log_weights: Float[Array, " n"], values: Float[Array, " n"], known: Average
) -> tuple[Scalar, Average, Scalar]:
    """⟨values⟩ over n draws of the flow: what to use, the running average, the ESS as a fraction.

    Where the weights say nothing the plain mean is used, and the running average left as it is.
    """
    weights = jax.nn.softmax(log_weights)
    effective = 1 / jnp.sum(weights**2)
    ess = effective / len(values)
    before = known.count * _MEMORY
    share = before / (before + effective)
    mean = share * known.mean + (1 - share) * jnp.sum(weights * values)
    trusted = ess > _GATE
    fresh = Average(mean, before + effective)
    kept = jax.tree.map(lambda new, old: jnp.where(trusted, new, old), fresh, known)
    return jnp.where(trusted, mean, jnp.mean(values)), kept, ess


def causal(losses: Float[Array, "... T"], epsilon: Scalar) -> Float[Array, "... T"]:
    """How much each point of lines counts, in (0, 1], after what lies before it."""
    return jnp.exp(-epsilon * (jnp.cumsum(losses, axis=-1) - losses))


def remembered(before: jax.Array, loss: jax.Array) -> jax.Array:
    """The running loss at a point."""
    return _MEMORY * before + (1 - _MEMORY) * jnp.minimum(loss, _LARGEST_LOSS)
