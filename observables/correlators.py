"""Correlators, and the gap of the spectrum that they decay with.

    C(r) = ⟨φ̄_t φ̄_{t+r}⟩ - ⟨φ̄⟩²,      φ̄_t = mean of φ over the sites of slice t,

averaged over t; slices lie across the first direction and, where others are of the same length,
across those, too. On a periodic lattice of T slices the two lowest states alone give
C(r) ∝ cosh(Δ (T/2 - r)), Δ = E₁ - E₀ in lattice units, and then

    Δ(r) = arcosh((C(r-1) + C(r+1)) / 2C(r))

is Δ at every r. Higher states make it larger, the least at r = T/2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theories import GaussianAnswers, LatticeFlowsError, LatticeTheory, TransferMatrix

from .chains import as_chains, chain_estimates
from .estimators import jackknife
from .slicing import sampled

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Correlator:
    """C(r) at r = 0 … T/2, and Δ(r) at r = 1 … T/2, with standard errors; T slices.

    A gap is NaN, its error infinite, where the noise of C leaves none; an error alone is infinite
    where one block has all the weight.
    """

    value: Array
    stderr: Array
    gap: Array
    gap_stderr: Array


def correlator(
    theory: LatticeTheory,
    configurations: Any,
    log_weights: ArrayLike | None = None,
    *,
    chains: int | None = None,
) -> Correlator:
    """C(r) and Δ(r) of draws (n, *shape) from, or weighted to, p; arguments as of `measure`.

    Of chains the errors are those of the Γ-method (chains.py).

    Raises LatticeFlowsError for fewer than two draws, fewer than four slices, or numbers that are
    not finite.
    """
    length = theory.shape[0]
    if length < 4:
        raise LatticeFlowsError("a correlator needs 4 sites or more in the first direction")

    def values(averages: Array) -> Array:
        return _values(averages, length)

    samples, sample_weights = sampled(_samples, configurations, log_weights, grouped=chains is None)
    if chains is None:
        found, covariance = jackknife(values, samples, sample_weights)
        errors = np.sqrt(np.diag(covariance))
    else:
        chains = as_chains(chains, len(samples), log_weights)
        found, errors = chain_estimates(values, samples, chains)
    lost = ~np.isfinite(found) | np.isnan(errors)
    found, errors = np.where(lost, np.nan, found), np.where(lost, np.inf, errors)
    r = length // 2 + 1
    return Correlator(found[:r], errors[:r], found[r:], errors[r:])


def exact_correlator(exact: TransferMatrix | GaussianAnswers) -> Correlator:
    """C(r) and Δ(r) of a chain or of the free field, without errors."""
    r = exact.length // 2 + 1
    if isinstance(exact, TransferMatrix):
        value, gap = exact.connected_correlator()[:r], exact.correlator_gaps()
    else:
        found = _values(np.append(exact.correlator()[:r], exact.magnetization), exact.length)
        value, gap = found[:r], found[r:]
    return Correlator(value, np.zeros_like(value), gap, np.zeros_like(gap))


def _samples(phi: Array) -> Array:
    """(n, T/2 + 2): the mean of φ̄_t φ̄_{t+r} over t at r = 0 … T/2, and of φ."""
    length, axes = phi.shape[1], range(1, phi.ndim)
    directions = [axis for axis in axes if phi.shape[axis] == length]
    products = np.zeros((len(phi), length // 2 + 1))
    for direction in directions:
        slices = phi.mean(axis=tuple(axis for axis in axes if axis != direction))
        power = np.abs(np.fft.rfft(slices, axis=1)) ** 2 / length
        products += np.fft.irfft(power, n=length, axis=1)[:, : length // 2 + 1]
    return np.column_stack([products / len(directions), phi.reshape(len(phi), -1).mean(axis=1)])


def _values(averages: Array, length: int) -> Array:
    """C(r) and Δ(r) of averages (..., T/2 + 2) over T = `length` slices."""
    connected = averages[..., :-1] - averages[..., -1:] ** 2
    beyond = connected[..., -2 if length % 2 == 0 else -1, None]  # C(r) = C(T-r)
    neighbours = connected[..., :-1] + np.concatenate([connected[..., 2:], beyond], axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = np.arccosh(neighbours / (2 * connected[..., 1:]))
    return np.concatenate([connected, gaps], axis=-1)
