"""Errors of what is measured on Markov chains, and whether the chains agree.

Draws of a chain remember one another. With Γ(t) the autocovariance of a series at a distance of t
draws, the mean of N draws has the variance

    σ² = C/N,  C = Γ(0) + 2 Σ_{t ≥ 1} Γ(t) = 2 τ_int Γ(0),

so that 2 τ_int draws count for one. The Γ-method (Wolff, hep-lat/0306017) estimates Γ from all
chains together, cuts the sum at a window W and chooses W so that what is cut off and the noise
summed up are alike. Functions of several averages are linearised about them: their series is the
sum of the averaged series, each times its partial derivative.

That the chains have forgotten where they began is judged by split-R̂ (Gelman et al., Bayesian Data
Analysis, 3rd ed., §11.4; Vehtari et al., arXiv:1903.08008, eqs. 1-4, without rank-normalisation).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theories.errors import LatticeFlowsError

from .estimators import ROUNDING, jackknife
from .weights import MIN_EFFECTIVE_DRAWS

Array = NDArray[np.float64]
Function = Callable[[Array], ArrayLike]

# The usual ratio of the exponential to the integrated autocorrelation time that W is chosen with.
_S = 2.0
# Vehtari et al., arXiv:1903.08008, §4
MAX_R_HAT = 1.01


def as_chains(chains: int, n: int, log_weights: ArrayLike | None) -> int:
    """The number of chains that n draws come from.

    Raises LatticeFlowsError unless they can be, or where they have weights.
    """
    if log_weights is not None:
        raise LatticeFlowsError("draws of Markov chains have no weights: give weights or chains")
    if not isinstance(chains, Integral) or chains < 1 or n % chains:
        raise LatticeFlowsError(f"{n} draws are not from {chains} chains of equal lengths")
    return int(chains)


class Autocorrelation(NamedTuple):
    """What the Γ-method finds in one series; times are in draws.

    stderr: the standard error of its mean. tau: the integrated autocorrelation time, ½ for
    independent draws, and its standard error. window: W, where the sum is cut.
    """

    stderr: float
    tau: float
    tau_stderr: float
    window: int


def autocorrelation(series: ArrayLike) -> Autocorrelation:
    """The Γ-method on a series (chains, n) of n draws from each of several chains.

    Where the sum comes out negative (draws that alternate) the error is that of independent draws,
    which is too large. Equation numbers are those of hep-lat/0306017.
    """
    series = np.asarray(series, dtype=np.float64)
    chains, n = series.shape
    total = chains * n
    gamma = _autocovariance(series - series.mean())
    if gamma[0] <= 0:
        return Autocorrelation(0.0, 0.5, 0.0, 0)
    sums = 2 * np.cumsum(gamma) - gamma[0]  # eq. (35), for every window
    window = _window(sums / (2 * gamma[0]), total)
    if sums[window] <= 0:
        window = 0
    # The mean is subtracted from its own draws, which lowers every Γ(t) by C/N: eq. (49).
    bias = sums[window] / total
    c, variance = sums[window] + (2 * window + 1) * bias, gamma[0] + bias
    tau = c / (2 * variance)
    tau_stderr = 2 * tau * np.sqrt(max(window + 0.5 - tau, 0.0) / total)  # eq. (42)
    return Autocorrelation(float(np.sqrt(c / total)), float(tau), float(tau_stderr), window)


def split_r_hat(series: ArrayLike) -> float:
    """R̂ of a series (chains, n), each chain cut into halves: 1 where all of them agree.

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


@dataclass(frozen=True)
class Mixing:
    """How well the chains have mixed: of the observable that is worst in each respect.

    tau_int: the largest integrated autocorrelation time, in draws, with its error; infinite where
        nothing moves. slowest: the observable that has it. r_hat: the largest split-R̂.
    """

    tau_int: float
    tau_int_stderr: float
    slowest: str
    r_hat: float

    def is_reliable(self, n: int) -> bool:
        """Whether error bars from n draws in all can be believed: enough of them, in agreement.

        Chains that have all missed a mode agree with one another.
        """
        return n >= 2 * self.tau_int * MIN_EFFECTIVE_DRAWS and self.r_hat <= MAX_R_HAT

    def as_json(self) -> dict[str, float | str | None]:
        """The part of a JSON report that is about chains; what is infinite is null."""
        return {
            name: value if isinstance(value, str) or isfinite(value) else None
            for name, value in vars(self).items()
        }


def measure_chains(
    function: Function, samples: Array, chains: int, names: Sequence[str]
) -> tuple[Array, Array, Mixing]:
    """Values and errors of a function of averages over chains, and how the chains mix.

    Arguments:
        function: maps averages (..., k) to results (..., p), vectorised over leading axes.
        samples: (n, k), k measurements on each of n draws, chain by chain.
        chains: the number of chains, all of the same length.
        names: of the p results.

    Returns (p,) values, their (p,) standard errors and the mixing. The values are corrected for
    their bias of O(1/n) by the jackknife over chains, if there are several.
    """
    values, series = _series(function, samples, chains)
    found = [autocorrelation(one) for one in series]
    r_hat = max(split_r_hat(one) for one in series)
    errors = np.array([one.stderr for one in found])
    moving = [(one.tau, one.tau_stderr, name) for one, name in zip(found, names, strict=True)]
    moving = [entry for entry, error in zip(moving, errors, strict=True) if error > 0]
    tau, tau_stderr, slowest = max(moving, default=(inf, inf, "all"))
    return values, errors, Mixing(tau, tau_stderr, slowest, r_hat)


def chain_estimates(function: Function, samples: Array, chains: int) -> tuple[Array, Array]:
    """Values and errors as of `measure_chains`, without the mixing."""
    values, series = _series(function, samples, chains)
    return values, np.array([autocorrelation(one).stderr for one in series])


def _series(function: Function, samples: Array, chains: int) -> tuple[Array, Array]:
    """The function's p values and the series (p, chains, n) whose means have their errors."""
    values, _ = jackknife(function, samples, blocks=chains)
    series = _linearised(function, samples).T.reshape(len(values), chains, -1)
    series[np.abs(series).max(axis=(1, 2)) < ROUNDING * np.abs(values)] = 0
    return values, series


def _linearised(function: Function, samples: Array) -> Array:
    """What each draw adds to the function of the averages, to first order: (n, k) → (n, p).

    Derivatives are central differences over the naive errors of the averages, on which scale the
    function should be linear anyway.
    """
    means = samples.mean(axis=0)
    steps = samples.std(axis=0) / np.sqrt(len(samples))
    up, down = (np.asarray(function(means + sign * np.diag(steps))) for sign in (1, -1))
    width = 2 * np.where(steps > 0, steps, 1)
    return (samples - means) @ ((up - down) / width[:, None])


def _autocovariance(deviations: Array) -> Array:
    """Γ(t) for t = 0 … n-1 from deviations (chains, n) from the mean: eq. (31)."""
    chains, n = deviations.shape
    modes = np.fft.rfft(deviations, 2 * n, axis=1)  # padded, so that the ends do not meet
    products = np.fft.irfft(np.abs(modes) ** 2, 2 * n, axis=1)[:, :n].sum(axis=0)
    return products / (chains * np.arange(n, 0, -1))


def _window(taus: Array, total: int) -> int:
    """The first W at which the noise exceeds what is cut off, from τ_int(W): eqs. (50)-(52).

    Half a chain where there is none: τ_int is then too small, and R̂ too large.
    """
    last = len(taus) // 2
    windows = np.arange(1, last + 1)
    clipped = np.maximum(taus[1 : last + 1], 0.5 + 1e-12)
    tau = _S / np.log((2 * clipped + 1) / (2 * clipped - 1))
    enough = np.exp(-windows / tau) < tau / np.sqrt(windows * total)
    return int(windows[np.argmax(enough)]) if enough.any() else last
