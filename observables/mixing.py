"""Whether Markov chains agree with one another and with themselves.

Split-R̂ (Gelman et al., Bayesian Data Analysis, 3rd ed., §11.4; Vehtari et al., arXiv:1903.08008,
eqs. 1-4, without rank-normalisation) compares the scatter of the means of half chains with that of
draws. It is 1 + O(τ_int/n) for chains of n draws that are perfectly stationary, so that no fixed
limit fits chains of all lengths. What is judged is whether means scatter more than the
autocorrelations *within* the chains predict. Each observable, its draws replaced by normal scores
of their ranks (ibid., eq. 14: it makes means of few draws normal), has four such contrasts
Σ_t w_t x_t of each chain: its mean; its first half less its second; and, averaged over chains, this
and its first tenth less its last half (Geweke, in Bayesian Statistics 4, 169). With Γ(t) cut at the
window W of the Γ-method,

    Var(Σ_t w_t x_t) = Σ_{|t| ≤ W} Γ(t) Σ_s w_s w_{s+t},

where Γ is estimated about the mean of each chain, so that chains which differ do not excuse
themselves. That lowers it by the variance v of such a mean, which follows from the same formula:

    v = A + B v,    A, B: the formula with Γ(t) as it is found, and with 1 in place of Γ(t).

The squares over their variances have F distributions, the variance having been estimated with about
(1 - B) N/(2W+1) degrees of freedom. The smallest of all probabilities, times their number, is the
*agreement*: chains that sample one distribution have one below α with probability α at most.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, nan

import numpy as np
from jaxtyping import Float
from scipy.special import fdtrc, ndtri

from .estimate import Detail, Estimate
from .gamma_method import Series, autocovariance, automatic_window
from .weights import MIN_EFFECTIVE_DRAWS

Covariances = Float[np.ndarray, " draws"]
"""Γ(t)."""

LONG_NAMES = {
    "r_hat": "largest split R-hat of the observables (Vehtari et al., arXiv:1903.08008, eqs. 1-4)",
    "agreement": "probability that chains of one distribution differ as much as these",
    "frozen_chains": "chains that stand still in an observable that moves in the others",
}
"""What files call the numbers about chains."""

# The share of verdicts on chains that agree which say that they do not.
MIN_AGREEMENT = 0.01
# Chains of fewer draws cannot be judged: the first tenth of one would be of one draw or two, and
# what is slower than half of it is not seen.
LEAST_DRAWS = 32
# A chain can only be called frozen where the others take this many different values.
_LEAST_VALUES = 5


@dataclass(frozen=True)
class Mixing:
    """How well the chains have mixed: of the observable that is worst in each respect.

    tau_int: the largest integrated autocorrelation time, in draws, with its error; infinite where
        nothing moves. slowest: the observable that has it. r_hat: the largest split-R̂.
    agreement: the probability that chains of one distribution differ as much as these, over all
        observables; NaN where there are too few draws to tell. frozen_chains: how many chains
        stand still in an observable that moves in the others.
    """

    tau_int: float
    tau_int_stderr: float
    slowest: str
    r_hat: float
    agreement: float = nan
    frozen_chains: int = 0

    def is_reliable(self, n: int) -> bool:
        """Whether error bars from n draws in all can be believed: enough of them, in agreement.

        Chains that have all missed a mode agree with one another.
        """
        enough = n >= 2 * self.tau_int * MIN_EFFECTIVE_DRAWS
        return enough and self.agreement >= MIN_AGREEMENT and not self.frozen_chains

    @property
    def details(self) -> dict[str, Detail]:
        """What a report says of the chains."""
        return {
            "tau_int": Estimate(self.tau_int, self.tau_int_stderr),
            "slowest": self.slowest,
            "r_hat": self.r_hat,
            "agreement": self.agreement,
            "frozen_chains": self.frozen_chains,
        }


def split_r_hat(series: Series) -> float:
    """R̂ of a series, each chain cut into halves: 1 where all of them agree.

    Infinite for fewer than four draws a chain, which cannot tell.
    """
    series = np.asarray(series, dtype=np.float64)
    half = series.shape[1] // 2
    if half < 2:
        return inf
    halves = np.concatenate([series[:, :half], series[:, -half:]])
    between = float(halves.mean(axis=1).var(ddof=1))
    within = float(halves.var(axis=1, ddof=1).mean())
    if between == 0:
        return 1.0
    return float(np.sqrt((half - 1) / half + between / within)) if within > 0 else inf


def agreement(series: Iterable[Series]) -> float:
    """The probability of chains of one distribution to differ as much as these: see above.

    series: of each observable; those that do not move at all are left out. NaN for
    chains shorter than LEAST_DRAWS, and where nothing moves.
    """
    found = [np.asarray(one, dtype=np.float64) for one in series]
    moving = [one for one in found if np.ptp(one) > 0 and one.shape[1] >= LEAST_DRAWS]
    scores = [_normal_scores(one) for one in moving]
    within = [autocovariance(one - one.mean(axis=1, keepdims=True)) for one in scores]
    window = max((_window(gamma, moving[0].size) for gamma in within), default=0)
    chances = [
        chance
        for one, gamma in zip(scores, within, strict=True)
        for chance in _chances(one, gamma, window)
    ]
    return min(1.0, len(chances) * min(chances)) if chances else nan


def frozen_chains(series: Iterable[Series]) -> int:
    """How many chains stand still in an observable in which at least half of them move.

    An observable of few values, as the sign of M, may stand still: it does not count.
    """
    frozen = None
    for one in series:
        ordered = np.sort(np.asarray(one, dtype=np.float64), axis=1)
        values = 1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1)
        if ordered.shape[1] >= LEAST_DRAWS and np.median(values) >= _LEAST_VALUES:
            still = values == 1
            frozen = still if frozen is None else frozen | still
    return 0 if frozen is None else int(np.count_nonzero(frozen))


def _normal_scores(series: Float[np.ndarray, "chains draws"]) -> Float[np.ndarray, "chains draws"]:
    """Each draw's rank among all, as the number that has this rank among normal ones."""
    _, at, counts = np.unique(series, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return ndtri((ranks - 0.375) / (series.size + 0.25))[at].reshape(series.shape)


def _chances(
    scores: Float[np.ndarray, "chains draws"], within: Covariances, window: int
) -> list[float]:
    """The probability of each contrast of scores to be as large as it is."""
    chains, n = scores.shape
    gamma, share = _corrected(within, window)
    freedom = max(1.0, (1 - share) * scores.size / (2 * window + 1))

    def variance(weights: Float[np.ndarray, " draws"]) -> float:
        modes = np.fft.rfft(weights, 2 * n)
        overlap = np.fft.irfft(np.abs(modes) ** 2, 2 * n)[: window + 1]
        overlap[1:] *= 2  # t and -t
        return max(float(overlap @ gamma[: window + 1]), float(overlap[0] * gamma[0]))

    half, tenth = n // 2, n // 10
    turn, start = np.zeros(n), np.zeros(n)
    turn[:half], turn[-half:] = 1 / half, -1 / half
    start[:tenth], start[-half:] = 1 / tenth, -1 / half
    squares = []  # sums of squares over their variances, and their numbers
    if chains > 1:
        means, turns = scores.mean(axis=1), scores @ turn
        squares.append(((chains * means.var()) / variance(np.full(n, 1 / n)), chains - 1))
        squares.append((turns @ turns / variance(turn), chains))
    for weights in (turn, start):
        average = float(np.mean(scores @ weights))
        squares.append((chains * average**2 / variance(weights), 1))
    return [float(fdtrc(count, freedom, square / count)) for square, count in squares]


def _corrected(within: Covariances, window: int) -> tuple[Covariances, float]:
    """Γ(t) from that about the means of the chains, for t up to a window; and B (see above).

    Not below independent draws.
    """
    n, lags = len(within), np.arange(window + 1)
    counts = np.where(lags == 0, 1, 2) * (n - lags) / n**2
    share = float(counts.sum())
    return within + max(float(counts @ within[: window + 1]), within[0] / n) / (1 - share), share


def _window(within: Covariances, total: int) -> int:
    """W for Γ(t) as it is when corrected, which itself depends on W."""
    window = 1
    for _ in range(4):
        window = automatic_window(_corrected(within, window)[0], total)
    return window
