"""Whether moves that preserve p leave the weighted draws as they are.

Let T be a Markov move that leaves p ∝ e^{-S} invariant. Draws that stand for p, whatever their
weights, then have the same averages before and after it: with O a vector of observables,

    E_p[O(Tφ)] = E_p[O(φ)].

Draws φ_i with weights w_i are resampled: draw i is taken c_i times, N in all, with E[c_i] ∝ w_i
(systematic resampling: Kitagawa, J. Comput. Graph. Stat. 5, 1), and each copy is moved by itself.
The paired change of the mean and its covariance, draws (not copies) being independent, are

    d = N⁻¹ Σ_i e_i,     e_i = Σ_{copies} (O(Tφ_i) - O(φ_i)),     C = N⁻² Σ_i (e_i - c_i d)(…)ᵀ,

and T² = dᵀ C⁻¹ d is Hotelling's: (B - k)/(k (B - 1)) T² follows the F distribution with k and B - k
degrees of freedom where p is sampled rightly, B = N²/Σc² the effective number of draws. Pairs share
what fluctuates slowly, so that the change is known far better than the averages themselves.

What it sees: that probability lies within reach of the moves where the draws have none, or too
little, or too much. What it can't see: a part of p that the moves do not reach from where the draws
are, and an error that the fluctuations of the draws still hide.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import f as f_distribution

from theories.shapes import LogWeights

from .weights import relative_weights

# Of F, for draws of p. The tails of weights make it beyond more often than it would be for normal
# numbers: with this and the next, fewer than one in a hundred ensembles of right draws that pass
# the weights' gate are (docs/gate.md).
FALSE_ALARM = 1e-5
# Directions in which the observables change by less than this (its square root in σ), relative to
# all of them, are left out: they are differences of nearly equal numbers, known by their tails.
_INDEPENDENT = 1e-3
# A change below this, relative to the observable, is rounding.
_ROUNDING = 1e-10


class Invariance(NamedTuple):
    """F of the paired change, beyond which value it speaks against the draws, and where it is from.

    worst: the observable whose change is the largest for its error. moves, draws: how many moves
    were made of how many (resampled) draws.
    """

    statistic: float
    threshold: float
    worst: str
    moves: int
    draws: int

    @property
    def passed(self) -> bool:
        """Whether the draws may stand for p as far as this tells."""
        return self.statistic <= self.threshold

    def as_json(self) -> dict[str, float | str | int]:
        """The record as reports have it."""
        return self._asdict()


def resample(log_weights: LogWeights, count: int, shift: float) -> Int[np.ndarray, " {count}"]:
    """`count` indices of draws, in rising order, each draw in proportion to its weight.

    Systematic: at the levels (j + shift)/count of the cumulative weight, shift in [0, 1) uniform.
    """
    level = np.cumsum(relative_weights(log_weights))
    places = np.searchsorted(level / level[-1], (np.arange(count) + shift) / count, side="right")
    return np.minimum(places, len(level) - 1)


def paired_change(
    before: Float[np.ndarray, "copies k"],
    after: Float[np.ndarray, "copies k"],
    parents: Int[np.ndarray, " copies"],
) -> tuple[float, float, int] | None:
    """F and its threshold, and the column that changes most for its error.

    before, after: observables of the copies; parents: the draw of each, rising. None
    where nothing changes, or too few draws have the weight to tell.
    """
    change = after - before
    starts = np.flatnonzero(np.diff(parents, prepend=-1))
    copies = np.diff(starts, append=len(parents)).astype(float)
    effective = len(parents) ** 2 / np.sum(copies**2)
    total = change.sum(axis=0)
    scatter = np.add.reduceat(change, starts, axis=0) - copies[:, None] * change.mean(axis=0)
    error = np.sqrt(np.sum(scatter**2, axis=0))
    size = np.sqrt(len(parents)) * np.sqrt(np.mean(before**2, axis=0))
    (moved,) = np.nonzero(error > _ROUNDING * size)
    if not len(moved):
        return None
    pull = total[moved] / error[moved]
    scaled = scatter[:, moved] / error[moved]
    spread, directions = np.linalg.eigh(scaled.T @ scaled)
    kept = spread > _INDEPENDENT
    k = int(kept.sum())
    if effective <= 2 * k:
        return None
    t_squared = np.sum((pull @ directions[:, kept]) ** 2 / spread[kept])
    statistic = t_squared * (effective - k) / (k * (effective - 1))
    threshold = f_distribution.isf(FALSE_ALARM, k, effective - k)
    return float(statistic), float(threshold), int(moved[np.argmax(np.abs(pull))])
