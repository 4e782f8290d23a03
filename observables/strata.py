"""Estimates from draws of several sources, with errors: a stratified jackknife, control variates.

Each source k gave a fixed number n_k of draws, so what differs from source to source is no error.
A block that is left out has an equal part of the draws of each, and a source stands for as much as
before without it.

A control is a combination of the draws, (1/N) Σ_i g_i, whose expectation is known to be 0. What an
average a has in common with it is noise, told by their covariance over the blocks and taken away:

    a - β·g,        β = Cov(g, g)⁻¹ Cov(g, a).

(Owen & Zhou, J. Am. Stat. Assoc. 95, 135 (2000), for mixtures of proposals.)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .estimate import Estimate
from .estimators import BLOCKS, as_samples, from_blocks, of_sums, weighted
from .intervals import Shape, estimates, shape
from .weights import relative_weights

# A coefficient for each control is fitted to the blocks; so many of them keep that harmless.
_BLOCKS_PER_CONTROL = 20
_LEAST_BLOCKS_PER_CONTROL = 4  # with fewer the controls are let be
# Controls which are combinations of the others but for noise add nothing.
_COLLINEAR = 1e-7


@dataclass(frozen=True, eq=False)
class Strata:
    """Where draws are from.

    sizes: how many consecutive draws each source gave, two or more.
    controls: (N, c), the g_i of c controls.
    """

    sizes: tuple[int, ...]
    controls: NDArray[np.float64]

    def jackknife(
        self,
        function: Callable[[NDArray[np.float64]], ArrayLike],
        samples: ArrayLike,
        log_weights: ArrayLike | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Value and covariance matrix of a function of several averages, as `jackknife` of one
        source; raises the same."""
        values, covariance, _ = self._estimate(function, samples, log_weights)
        return values, covariance

    def reweighted(
        self,
        function: Callable[[NDArray[np.float64]], ArrayLike],
        samples: ArrayLike,
        log_weights: ArrayLike | None = None,
    ) -> list[Estimate]:
        """What `jackknife` returns as estimates, with intervals (intervals.py)."""
        values, covariance, form = self._estimate(function, samples, log_weights)
        return estimates(values, np.sqrt(np.diag(covariance)), form)

    def _estimate(
        self,
        function: Callable[[NDArray[np.float64]], ArrayLike],
        samples: ArrayLike,
        log_weights: ArrayLike | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Shape]:
        """Values, their covariance and the shape of their distributions."""
        columns = weighted(as_samples(samples), log_weights)
        c, blocks = self.controls.shape[1], self._blocks
        if blocks < _LEAST_BLOCKS_PER_CONTROL * (c + 1):
            c = 0
        controls = self.controls[:, :c]
        total, without = self._leave_out(np.concatenate([columns, controls], axis=1), blocks)

        free = blocks - 1
        inflation = 1.0
        if c:
            beta, rank = _coefficients(without, c)
            # taken from the sums, of which it is linear, not from functions of them: where a
            # control explains all the noise of an average, its logarithm has none
            total = total[:-c] - total[-c:] @ beta
            without = without[:, :-c] - without[:, -c:] @ beta
            columns = columns - controls @ beta
            # what is left is too small by the coefficients fitted, whose own errors add to it
            free -= rank
            inflation = (blocks - 1) / free * (1 + rank / free)

        values, covariance = from_blocks(function, total, without, inflation)
        form = shape(of_sums(function), columns, sizes=self.sizes, uncertainty=2 / free)
        return values, covariance, form

    @property
    def _blocks(self) -> int:
        return min(max(BLOCKS, _BLOCKS_PER_CONTROL * self.controls.shape[1]), *self.sizes)

    def _leave_out(self, columns: NDArray, blocks: int) -> tuple[NDArray, NDArray]:
        """The sum of `columns` over all draws (m,), and without each block in turn (blocks, m)."""
        total, without = np.zeros(columns.shape[1]), np.zeros((blocks, columns.shape[1]))
        for size, end in zip(self.sizes, np.cumsum(self.sizes), strict=True):
            starts = np.arange(blocks) * size // blocks
            counts = np.diff(starts, append=size)[:, None]
            sums = np.add.reduceat(columns[end - size : end], starts, axis=0)
            whole = sums.sum(axis=0)
            total += whole
            without += size / (size - counts) * (whole - sums)
        return total, without

    def log_mean(self, log_weights: ArrayLike) -> Estimate:
        """log of the mean weight, with its error."""
        log_weights = as_samples(log_weights)
        (estimate,) = self.reweighted(np.log, relative_weights(log_weights)[:, None])
        return estimate.moved(float(log_weights.max()))


def _coefficients(without: NDArray[np.float64], c: int) -> tuple[NDArray[np.float64], int]:
    """β (c, m-c) of the last c columns of (blocks, m) as controls of the others, their rank."""
    spread = without - without.mean(axis=0)
    size = np.linalg.norm(spread[:, -c:], axis=0)
    scale = np.where(size > 0, size, 1)
    beta, _, rank, _ = np.linalg.lstsq(spread[:, -c:] / scale, spread[:, :-c], rcond=_COLLINEAR)
    return beta / scale[:, None], int(rank)
