"""Where along a line of couplings another point would tell most.

Between two neighbours x_i < x_{i+1}, h apart, a straight line misses a curve f by up to h²|f''|/8.
With f'' from the measured values and that in units of their errors σ, the score of the interval is

    (h / H) · (1 + h²|f''| / 8σ) / ESS,

H the length of the whole range and ESS the smaller one of the two ends, as a fraction of the best.
Peaks and bends that are resolved better than they are tabulated get points, and where weights are
uneven; where nothing stands out the longest interval is halved. No interval is left out for good.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theories.errors import LatticeFlowsError

# Scores as close as that are the same but for rounding: the first one counts, on every machine.
_TIE = 1e-9


def next_coupling(points: ArrayLike, values: ArrayLike, errors: ArrayLike, ess: ArrayLike) -> float:
    """The middle of the interval with the highest score, the first of several.

    Arguments: (n,) each, in any order: positions along the line, what was measured there, its
    standard errors (not finite where there are none), and effective sample sizes in (0, 1].

    Raises LatticeFlowsError for fewer than two different points.
    """
    order = np.argsort(np.asarray(points, dtype=np.float64), kind="stable")
    x, f, sigma, ess = (np.asarray(a, np.float64)[order] for a in (points, values, errors, ess))
    if len(x) < 2 or x[0] == x[-1]:
        raise LatticeFlowsError("an adaptive scan starts from two or more couplings: give a range")
    h = np.diff(x)
    score = h / h.sum() * (1 + _missed(x, f, sigma)) / _both(np.minimum, ess / ess.max())
    best = int(np.argmax(score >= (1 - _TIE) * score.max()))
    return float((x[best] + x[best + 1]) / 2)


def _missed(
    x: NDArray[np.float64], f: NDArray[np.float64], sigma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far a straight line may miss the curve in each interval, in standard errors: (n-1,).

    f'' is that of the parabola through three neighbours, less its own error so that noise is no
    curvature; the larger one where an interval is part of two such parabolas.
    """
    h = np.diff(x)
    known = np.isfinite(f) & np.isfinite(sigma) & (sigma > 0)
    if len(x) < 3:
        return np.zeros(len(h))
    left, right = h[:-1], h[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = 2 / np.stack([left * (left + right), -left * right, right * (left + right)])
        triples = np.stack([np.arange(len(x))[i : len(x) - 2 + i] for i in range(3)])
        bend = np.abs(np.sum(weights * f[triples], axis=0))
        noise = np.sqrt(np.sum((weights * sigma[triples]) ** 2, axis=0))
        usable = known[triples].all(axis=0) & (left > 0) & (right > 0)
        bend = np.where(usable, np.maximum(bend - noise, 0), 0)
        ends = np.concatenate([bend[:1], bend, bend[-1:]])
        missed = h**2 / 8 * _both(np.maximum, ends) / _both(np.maximum, sigma)
    return np.where(known[:-1] & known[1:], missed, 0)


def _both(choose: np.ufunc, ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """One value for each interval, of those at its ends."""
    return choose(ends[:-1], ends[1:])
