"""Estimates with errors: reweighted averages, and functions of several of them, by the jackknife.

With configurations φ_i drawn from q and weights w_i ∝ p(φ_i)/q(φ_i), an average is the ratio

    ⟨O⟩ = Σ_i w_i O(φ_i) / Σ_i w_i,

itself a function of two averages. What is reported (χ, the Binder cumulant) is a function of
several such ratios. The delete-a-block jackknife carries all their covariances along: recompute the
function with one block of draws left out, for every block in turn, and look at the scatter. (Efron,
"The Jackknife, the Bootstrap and Other Resampling Plans", SIAM 1982, chs. 2-3.)
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike, NDArray

from theories.errors import LatticeFlowsError
from theories.shapes import Arrays, LogWeights

from .estimate import Estimate
from .intervals import correlation, estimates, shape
from .weights import relative_weights

# The error of a jackknife error bar is about 1/√(2 BLOCKS): 5 % here. More would cost only time for
# independent draws; a chain needs blocks that are long against its autocorrelation time.
BLOCKS = 200

# Below this share of the weight left outside one block, the ratio without it is rounding noise.
_LEAST_WEIGHT = 1e-9
# A value fixed by symmetry has no error; what scatters below this is rounding.
ROUNDING = 1e-13


def as_samples(samples: ArrayLike) -> Float[np.ndarray, " n *k"]:
    """`samples` as finite float64, draws along the first axis.

    Raises LatticeFlowsError if a number is NaN or infinite, or if there are fewer than two draws.
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim == 0 or len(samples) < 2:
        raise LatticeFlowsError("an error bar needs at least 2 configurations: draw more of them")
    bad = len(samples) - int(np.isfinite(samples).reshape(len(samples), -1).all(axis=1).sum())
    if bad:
        raise LatticeFlowsError(
            f"{bad} of {len(samples)} configurations have values that are not finite: "
            "the ensemble is damaged or the flow diverged, sample again from a better checkpoint"
        )
    return samples


def jackknife(
    function: Callable[[NDArray[np.float64]], ArrayLike],
    samples: Shaped[Arrays, "n k"],
    log_weights: LogWeights | None = None,
    blocks: int = BLOCKS,
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, "p p"]]:
    """Value and covariance matrix of a function of several (reweighted) averages.

    Arguments:
        function: maps averages (..., k) to results (..., p), vectorised over leading axes.
        samples: k measurements on each of n draws, in the order they were drawn.
        log_weights: log w up to a common constant; None for unweighted draws.
        blocks: number of blocks of consecutive draws, n at most.

    Returns p values and their covariance. The values are bias-corrected,
    Bθ - (B-1) mean_b θ_(b): ratios and squares of averages are off by O(1/n), all in one direction
    (χ too small by 1/n_eff), which adds up when estimates of many couplings are combined. The
    correction leaves O(1/n²) and does not change the error at leading order. Where one block
    carries all the weight no error can be told: the covariance is then infinite, the value
    uncorrected.

    Raises LatticeFlowsError for fewer than two draws or numbers that are not finite.
    """
    return _leave_out(function, weighted(as_samples(samples), log_weights), blocks)


def reweighted(
    function: Callable[[NDArray[np.float64]], ArrayLike],
    samples: Shaped[Arrays, "n k"],
    log_weights: LogWeights | None = None,
) -> list[Estimate]:
    """What `jackknife` returns as estimates, with intervals (intervals.py).

    Raises LatticeFlowsError as `jackknife` does.
    """
    columns = weighted(as_samples(samples), log_weights)
    values, covariance = _leave_out(function, columns, BLOCKS)
    uncertainty = 2 / min(BLOCKS, len(columns))
    form = shape(of_sums(function), columns, uncertainty=uncertainty)
    return estimates(values, np.sqrt(np.diag(covariance)), form)


def correlations(
    function: Callable[[NDArray[np.float64]], ArrayLike],
    samples: Shaped[Arrays, "n k"],
    log_weights: LogWeights | None = None,
) -> Float[np.ndarray, "p p"]:
    """The correlations of what `jackknife` returns, from every draw alone.

    200 blocks do not tell the small eigenvalues of a large matrix.
    """
    return correlation(of_sums(function), weighted(as_samples(samples), log_weights))


def weighted(
    samples: Float[np.ndarray, "n k"], log_weights: LogWeights | None
) -> Float[np.ndarray, "n k+1"]:
    """The weight of each draw, and times that its k measurements."""
    n = len(samples)
    weights = np.ones(n) if log_weights is None else relative_weights(log_weights, n)
    return np.concatenate([weights[:, None], weights[:, None] * samples], axis=1)


def of_sums(
    function: Callable[[NDArray[np.float64]], ArrayLike],
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A function of averages as one of the sums, or means, of the columns that `weighted` gives."""
    return lambda sums: np.asarray(function(sums[..., 1:] / sums[..., :1]), dtype=np.float64)


def _leave_out(
    function: Callable[[NDArray[np.float64]], ArrayLike],
    columns: Float[np.ndarray, "n columns"],
    blocks: int,
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, "p p"]]:
    """The jackknife over blocks of consecutive rows."""
    n = len(columns)
    blocks = min(blocks, n)
    sums = np.add.reduceat(columns, np.arange(blocks) * n // blocks, axis=0)
    total = sums.sum(axis=0)
    return from_blocks(function, total, total - sums)


def from_blocks(
    function: Callable[[NDArray[np.float64]], ArrayLike],
    total: Float[np.ndarray, " columns"],
    without: Float[np.ndarray, "blocks columns"],
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, "p p"]]:
    """What `jackknife` returns, from the sums over all draws and those without each block.

    total: the sum of the weights, then those of the weighted samples; without: the same.
    """
    evaluate = of_sums(function)
    plain = evaluate(total)
    if np.any(without[:, 0] <= _LEAST_WEIGHT * total[0]):
        return plain, np.full((plain.size, plain.size), np.inf)
    blocks = len(without)
    values = evaluate(without)
    centre = values.mean(axis=0)
    spread = values - centre
    spread[np.abs(spread) < ROUNDING * np.abs(centre)] = 0
    covariance = (blocks - 1) / blocks * spread.T @ spread
    return blocks * plain - (blocks - 1) * centre, covariance


def average(samples: Shaped[Arrays, " n"], log_weights: LogWeights | None = None) -> Estimate:
    """⟨O⟩ = Σ w O / Σ w of one measurement per draw, with its jackknife error.

    Raises LatticeFlowsError as `jackknife` does.
    """
    (estimate,) = reweighted(lambda a: a, as_samples(samples)[:, None], log_weights)
    return estimate
