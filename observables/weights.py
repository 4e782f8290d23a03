"""Importance weights: how far they can be trusted, and the partition function they carry.

w_i = e^{-S(φ_i)}/q(φ_i) with q normalised, so that E_q[w] = Z. All functions take log w.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from theories.errors import LatticeFlowsError
from theories.shapes import LogWeights

from .estimate import Estimate
from .intervals import estimates, shape

# The gate. With poor overlap the naive error *shrinks*: the draws agree with one another because
# none of them has seen where the weight is. So an error bar is only believed when each of these
# holds.
#
# Fewer effective draws than this, and the error of the error (1/√(2 n_eff)) exceeds 7 %, and the
# normal 68 % interval no longer covers 68 %.
MIN_EFFECTIVE_DRAWS = 100
# One draw with a twentieth of the weight shifts every average by a twentieth of its fluctuation:
# the next such draw, not seen yet, would do the same. Kish's ESS alone lets this pass in large
# samples.
MAX_WEIGHT_SHARE = 0.05
# Kish's ESS measures the overlap on the draws at hand and is too large when it is small. For
# log-normal weights an ESS of 0.02 is a spread of 2 in log w: the weight then lies 2σ out in q,
# where 2 % of the draws are. Further out, samples of ordinary size cannot tell.
MIN_ESS = 0.02


def as_log_weights(log_weights: ArrayLike, n: int | None = None) -> Float[np.ndarray, " n"]:
    """Log-weights as finite float64.

    Raises LatticeFlowsError if one is NaN or infinite, there are none, or their number is not n.
    """
    log_weights = np.asarray(log_weights, dtype=np.float64)
    if log_weights.ndim != 1 or log_weights.size == 0 or n not in (None, log_weights.size):
        expected = "one per configuration" if n is None else f"one for each of {n} configurations"
        raise LatticeFlowsError(f"log-weights of shape {log_weights.shape}: need {expected}")
    bad = int(np.sum(~np.isfinite(log_weights)))
    if bad:
        raise LatticeFlowsError(
            f"{bad} of {log_weights.size} log-weights are not finite numbers: "
            "the flow diverged there, sample again from a better checkpoint or with more ODE steps"
        )
    return log_weights


def relative_weights(log_weights: LogWeights, n: int | None = None) -> Float[np.ndarray, " n"]:
    """Weights divided by the largest of them: in (0, 1], no overflow whatever log Z is."""
    log_weights = as_log_weights(log_weights, n)
    return np.exp(log_weights - log_weights.max())


def kish_ess(log_weights: LogWeights) -> float:
    """Kish's effective sample size as a fraction of n, (Σw)²/(n Σw²) in (0, 1].

    Raises LatticeFlowsError for log-weights that are not finite.
    """
    w = relative_weights(log_weights)
    return min(1.0, float(w.sum() ** 2 / (w.size * np.sum(w**2))))


def max_weight_share(log_weights: LogWeights) -> float:
    """Share of the largest weight in the sum of all, in [1/n, 1].

    Raises LatticeFlowsError for log-weights that are not finite.
    """
    return 1.0 / float(relative_weights(log_weights).sum())


def log_mean_weight(log_weights: LogWeights) -> Estimate:
    """log Z = log of the mean weight, with its error.

    The error is that of the mean weight, relative: √((1/ESS - 1)/(n - 1)), with intervals for what
    the tail of the weights does to it (intervals.py). The log of a mean is too small by half the
    error squared on average; that is added back. For one draw alone it is infinite: nothing is
    known of the scatter.

    Raises LatticeFlowsError for log-weights that are not finite.
    """
    log_weights = as_log_weights(log_weights)
    n = log_weights.size
    weights = relative_weights(log_weights)
    log_mean = float(log_weights.max() + np.log(np.mean(weights)))
    if n == 1:
        return Estimate(log_mean, np.inf)
    variance = max(0.0, 1.0 / kish_ess(log_weights) - 1.0) / (n - 1)
    values, errors = np.array([[log_mean + variance / 2], [np.sqrt(variance)]])
    (estimate,) = estimates(values, errors, shape(np.log, weights[:, None]))
    return estimate


def failed_checks(ess: float, max_weight_share: float, n: int) -> tuple[str, ...]:
    """The names of the checks that n draws with these weights fail (thresholds: see above).

    `effective_draws`, `weight_share`, `overlap`; none where error bars can be believed as far as
    the weights tell. They tell of the draws at hand only: a sampler that misses a whole mode
    passes. Whether moves find what it misses is another check (invariance.py).
    """
    passed = {
        "effective_draws": ess * n >= MIN_EFFECTIVE_DRAWS,
        "weight_share": max_weight_share <= MAX_WEIGHT_SHARE,
        "overlap": ess >= MIN_ESS,
    }
    return tuple(name for name, fine in passed.items() if not fine)


def is_reliable(ess: float, max_weight_share: float, n: int) -> bool:
    """Whether error bars from n draws with these weights can be believed (`failed_checks`)."""
    return not failed_checks(ess, max_weight_share, n)
