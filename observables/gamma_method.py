"""The Γ-method: the error of the mean of draws that remember one another.

With Γ(t) the autocovariance of a series at a distance of t draws, the mean of N draws has the
variance

    σ² = C/N,  C = Γ(0) + 2 Σ_{t ≥ 1} Γ(t) = 2 τ_int Γ(0),

so that 2 τ_int draws count for one. The Γ-method (Wolff, hep-lat/0306017, whose equations the
numbers are of) estimates Γ from all chains together, cuts the sum at a window W and chooses W so
that what is cut off and the noise summed up are alike.

Two rules are for series that alternate, as those of a sampler with long steps do:

- All series of one sampler are cut at one window, the largest that any of them asks for, which is
  that of the slowest. A series that alternates first and has a slow tail afterwards looks as if it
  needed none; the others tell.
- τ_int is never below ½, that of independent draws (so do pyerrors, and UWerr for its window). What
  alternation gains is real but rests on a difference of large terms; the error given is too large
  instead, by √((1+r)/(1-r)) for Γ(t) = (-r)^t Γ(0).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from theories.shapes import Arrays

Series = Float[Arrays, "chains draws"]

# The usual ratio of the exponential to the integrated autocorrelation time that W is chosen with.
_S = 2.0


class Autocorrelation(NamedTuple):
    """What the Γ-method finds in one series; times are in draws.

    stderr: the standard error of its mean. tau: the integrated autocorrelation time, ½ for
    independent draws, and its standard error. window: W, where the sum is cut.
    """

    stderr: float
    tau: float
    tau_stderr: float
    window: int


def autocorrelation(series: Series) -> Autocorrelation:
    """The Γ-method on one series, of as many draws from each of several chains."""
    return autocorrelations([series])[0]


def autocorrelations(series: Iterable[Series]) -> list[Autocorrelation]:
    """The Γ-method on several series of the same draws, all cut at the same window."""
    series = [np.asarray(one, dtype=np.float64) for one in series]
    gammas = [autocovariance(one - one.mean()) for one in series]
    total = series[0].size if series else 0
    window = max((automatic_window(gamma, total) for gamma in gammas if gamma[0] > 0), default=0)
    return [_summed(gamma, window, total) for gamma in gammas]


def autocovariance(deviations: Float[np.ndarray, "chains draws"]) -> Float[np.ndarray, " draws"]:
    """Γ(t) from t = 0 on, from deviations from the mean: eq. (31)."""
    chains, n = deviations.shape
    modes = np.fft.rfft(deviations, 2 * n, axis=1)  # padded, so that the ends do not meet
    products = np.fft.irfft(np.abs(modes) ** 2, 2 * n, axis=1)[:, :n].sum(axis=0)
    return products / (chains * np.arange(n, 0, -1))


def _summed(gamma: Float[np.ndarray, " draws"], window: int, total: int) -> Autocorrelation:
    if np.isnan(gamma[0]):  # of a function that is not defined at the averages
        return Autocorrelation(np.inf, 0.5, 0.0, 0)
    if gamma[0] <= 0:
        return Autocorrelation(0.0, 0.5, 0.0, 0)
    c = 2 * float(gamma[: window + 1].sum()) - gamma[0]  # eq. (35)
    # The mean is subtracted from its own draws, which lowers every Γ(t) by C/N: eq. (49).
    bias = c / total
    variance = gamma[0] + bias
    c = max(c + (2 * window + 1) * bias, variance)
    tau = c / (2 * variance)
    tau_stderr = 2 * tau * np.sqrt(max(window + 0.5 - tau, 0.0) / total)  # eq. (42)
    return Autocorrelation(float(np.sqrt(c / total)), float(tau), float(tau_stderr), window)


def automatic_window(gamma: Float[np.ndarray, " draws"], total: int) -> int:
    """W: the first at which the noise exceeds what is cut off, from τ_int(W): eqs. (50)-(52).

    gamma: Γ(t) of one chain's length, estimated from `total` draws. Half a chain where there is no
    such W: τ_int is then too small.
    """
    last = len(gamma) // 2
    windows = np.arange(1, last + 1)
    taus = np.cumsum(gamma[: last + 1])[1:] / gamma[0] - 0.5
    clipped = np.maximum(taus, 0.5 + 1e-12)
    tau = _S / np.log((2 * clipped + 1) / (2 * clipped - 1))
    enough = np.exp(-windows / tau) < tau / np.sqrt(windows * total)
    return int(windows[np.argmax(enough)]) if enough.any() else last
