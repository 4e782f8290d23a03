"""Samples of many configurations, a slice at a time, so that memory need not hold them all.

An average weighted with w is the same for one draw of weight W = Σ w and value Σ w O / W in the
place of several: sums over blocks of consecutive draws do not change where groups do not cross the
blocks' borders.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from theories.errors import LatticeFlowsError
from theories.shapes import LogWeights

from .estimators import as_samples
from .weights import as_log_weights

Array = NDArray[np.float64]

_SLICE = 1 << 14
# A multiple of 2^13 and of 200, so that as many blocks, or 2^k of them, have borders of groups.
_GROUPS = 200 << 10


def sampled(
    function: Callable[[Array], Array],
    configurations: Any,
    log_weights: LogWeights | None = None,
    *,
    grouped: bool = True,
) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, " m"] | None]:
    """Samples of configurations (n, …), and their log-weights or None.

    Arguments:
        function: configurations (s, …) -> (s, k), draw by draw.
        configurations: an array, or what has a shape and slices that are arrays.
        grouped: where there are 400,000 or more, take neighbours together, as one draw that has the
            weight of all. For averages over independent draws; series keep every one.

    Raises LatticeFlowsError for fewer than two, and for configurations that are not finite.
    """
    n = len(configurations)
    if n < 2:
        as_samples(configurations)  # which says so
    if log_weights is not None:
        log_weights = as_log_weights(log_weights, n)
    if not grouped or n < 2 * _GROUPS:
        return _by_slices(function, configurations), log_weights
    ends = np.arange(_GROUPS + 1) * n // _GROUPS
    step = max(1, _SLICE * _GROUPS // n)
    found = [
        _group(function, configurations, log_weights, ends[i : i + step + 1])
        for i in range(0, _GROUPS, step)
    ]
    samples, weights = zip(*found, strict=True)
    return np.concatenate(samples), np.concatenate(weights)


def _by_slices(function: Callable[[Array], Array], configurations: Any) -> Array:
    n = len(configurations)
    first = _finite(function, configurations, 0, min(n, _SLICE))
    samples = np.empty((n, *first.shape[1:]))
    samples[: len(first)] = first
    for start in range(len(first), n, _SLICE):
        samples[start : start + _SLICE] = _finite(function, configurations, start, start + _SLICE)
    return samples


def _group(
    function: Callable[[Array], Array],
    configurations: Any,
    log_weights: Array | None,
    ends: NDArray[np.int_],
) -> tuple[Array, Array]:
    """One sample and one log-weight for the draws between each two of the `ends`."""
    samples = _finite(function, configurations, int(ends[0]), int(ends[-1]))
    starts, sizes = ends[:-1] - ends[0], np.diff(ends)
    if log_weights is None:
        return np.add.reduceat(samples, starts) / sizes[:, None], np.log(sizes)
    here = log_weights[ends[0] : ends[-1]]
    largest = np.maximum.reduceat(here, starts)
    weights = np.exp(here - np.repeat(largest, sizes))
    total = np.add.reduceat(weights, starts)
    sums = np.add.reduceat(weights[:, None] * samples, starts)
    return sums / total[:, None], largest + np.log(total)


def _finite(
    function: Callable[[Array], Array], configurations: Any, start: int, stop: int
) -> Array:
    """The samples of one slice."""
    phi = np.asarray(configurations[start:stop], dtype=np.float64)
    bad = len(phi) - int(np.isfinite(phi).reshape(len(phi), -1).all(axis=1).sum())
    if bad:
        raise LatticeFlowsError(
            f"{bad} of {len(configurations)} configurations have values that are not finite: "
            "the ensemble is damaged or the flow diverged, sample again from a better checkpoint"
        )
    return function(phi)
