"""Errors of what is measured on Markov chains, and whether the chains agree.

Functions of several averages are linearised about them: their series is the sum of the averaged
series, each times its partial derivative. The Γ-method (gamma_method.py) gives the error of the
mean of that series; mixing.py judges whether the chains agree.
"""

from collections.abc import Callable, Sequence
from math import ceil, inf
from numbers import Integral

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from theories.errors import LatticeFlowsError

from .estimate import Estimate
from .estimators import ROUNDING, jackknife
from .gamma_method import Autocorrelation, autocorrelations
from .gamma_method import autocorrelation as autocorrelation
from .intervals import correlation, estimates, shape
from .mixing import Mixing, agreement, frozen_chains, split_r_hat

Array = NDArray[np.float64]
Function = Callable[[Array], ArrayLike]
Samples = Float[np.ndarray, "n k"]
"""k measurements on each of n draws, chain by chain."""

# Blocks of so many autocorrelation times are taken as independent.
_BLOCK = 4.0


def as_chains(chains: int | np.integer, n: int, log_weights: ArrayLike | None) -> int:
    """The number of chains that n draws come from.

    Raises LatticeFlowsError unless they can be, or where they have weights.
    """
    if log_weights is not None:
        raise LatticeFlowsError("draws of Markov chains have no weights: give weights or chains")
    if not isinstance(chains, Integral) or chains < 1 or n % chains:
        raise LatticeFlowsError(f"{n} draws are not from {chains} chains of equal lengths")
    return int(chains)


def measure_chains(
    function: Function, samples: Samples, chains: int, names: Sequence[str]
) -> tuple[list[Estimate], Mixing]:
    """Estimates of a function of averages over chains, and how the chains mix.

    Arguments:
        function: maps averages (..., k) to results (..., p), vectorised over leading axes.
        chains: the number of chains, all of the same length.
        names: of the p results.

    Returns p estimates with intervals and the mixing. The values are corrected for their bias of
    O(1/n) by the jackknife, over chains if there are several, else over blocks of the one.
    """
    values, series = chain_series(function, samples, chains)
    found = autocorrelations(series)
    moving = [(one.tau, one.tau_stderr, name) for one, name in zip(found, names, strict=True)]
    moving = [entry for entry, one in zip(moving, found, strict=True) if one.stderr > 0]
    tau, tau_stderr, slowest = max(moving, default=(inf, inf, "all"))
    mixing = Mixing(
        tau_int=tau,
        tau_int_stderr=tau_stderr,
        slowest=slowest,
        r_hat=max(split_r_hat(one) for one in series),
        agreement=agreement(series),
        frozen_chains=frozen_chains(series),
    )
    return _with_intervals(function, samples, chains, values, found), mixing


def chain_estimates(function: Function, samples: Samples, chains: int) -> list[Estimate]:
    """The estimates of `measure_chains`, without the mixing."""
    values, series = chain_series(function, samples, chains)
    return _with_intervals(function, samples, chains, values, autocorrelations(series))


def _with_intervals(
    function: Function,
    samples: Samples,
    chains: int,
    values: Float[np.ndarray, " p"],
    found: Sequence[Autocorrelation],
) -> list[Estimate]:
    """Estimates whose intervals take blocks of a chain of two effective draws as independent.

    The errors are as uncertain as their autocorrelation times.
    """
    tau = max(one.tau for one in found)
    blocks = block_means(samples, chains, ceil(_BLOCK * tau))
    uncertainty = np.array([(one.tau_stderr / one.tau) ** 2 for one in found])
    if chains == 1:
        values, _ = jackknife(function, blocks, blocks=len(blocks))
    errors = np.array([one.stderr for one in found])
    return estimates(values, errors, shape(function, blocks, uncertainty=uncertainty))


def chain_correlations(
    function: Function, samples: Samples, chains: int
) -> tuple[Float[np.ndarray, "p p"], int]:
    """The correlations of the estimates, and the number of blocks that they are from."""
    _, series = chain_series(function, samples, chains)
    tau = max(one.tau for one in autocorrelations(series))
    blocks = block_means(samples, chains, ceil(_BLOCK * tau))
    return correlation(function, blocks), len(blocks)


def block_means(samples: Samples, chains: int, length: int) -> Float[np.ndarray, "blocks k"]:
    """Means over `length` consecutive draws of a chain, or a little more.

    All blocks are of one length, and there are two or more: what does not fit is left out.
    """
    n = len(samples) // chains
    blocks = max(1 if chains > 1 else 2, n // length)
    length = max(1, n // blocks)
    kept = samples.reshape(chains, n, -1)[:, : blocks * length]
    return kept.reshape(chains * blocks, length, -1).mean(axis=1)


def chain_series(
    function: Function, samples: Samples, chains: int
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, "p {chains} draws"]]:
    """The function's p values and the series whose means have their errors.

    Arguments and values as of `measure_chains`. The series are of deviations, their mean is 0: one
    that is fixed, by a symmetry, is 0 throughout.
    """
    values, _ = jackknife(function, samples, blocks=chains)
    series = _linearised(function, samples).T.reshape(len(values), chains, -1)
    series[np.abs(series).max(axis=(1, 2)) < ROUNDING * np.abs(values)] = 0
    return values, series


def _linearised(function: Function, samples: Samples) -> Float[np.ndarray, "n p"]:
    """What each draw adds to the function of the averages, to first order.

    Derivatives are central differences over the naive errors of the averages, on which scale the
    function should be linear anyway.
    """
    means = samples.mean(axis=0)
    steps = samples.std(axis=0) / np.sqrt(len(samples))
    up, down = (np.asarray(function(means + sign * np.diag(steps))) for sign in (1, -1))
    width = 2 * np.where(steps > 0, steps, 1)
    return (samples - means) @ ((up - down) / width[:, None])
