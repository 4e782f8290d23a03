"""Correlators, and the gap of the spectrum that they decay with.

    C(r) = ⟨φ̄_t φ̄_{t+r}⟩ - ⟨φ̄⟩²,      φ̄_t = mean of φ over the sites of slice t,

averaged over t; slices lie across the first direction and, where others are of the same length,
across those, too. On a periodic lattice of T slices the two lowest states alone give
C(r) ∝ cosh(Δ (T/2 - r)), Δ = E₁ - E₀ in lattice units, and then

    Δ(r) = arcosh((C(r-1) + C(r+1)) / 2C(r))

is Δ at every r. Higher states make it larger, the least at r = T/2. It is there to look at: the
gap itself is that of a fit (gap.py). Where noise makes arcosh fail, those draws that do have a Δ(r)
are a selection: it is given only where all samples of the jackknife have one.

⟨φ̄⟩ is averaged over φ → -φ first (orbit.py), the products are even anyway.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from theories import (
    GaussianAnswers,
    LatticeFlowsError,
    LatticeTheory,
    StripSolution,
    TransferMatrix,
)
from theories.shapes import Draws, LogWeights, Point

from .chains import as_chains, chain_correlations, chain_estimates
from .estimate import Estimate
from .estimators import correlations, reweighted
from .gap import GapFit, fit_gap
from .orbit import actions, orbit_average
from .slicing import sampled
from .weights import kish_ess

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Correlator:
    """C(r) at r = 0 … T/2, and Δ(r) at r = 1 … T/2, with standard errors; T slices.

    covariance, interval_68, interval_95: of the C(r), the last two NaN where not known. fit: the
    gap by a fit to the C(r); None where they have no errors to fit with, and for exact ones.

    A gap is NaN, its error infinite, where the noise of C leaves none; an error alone is infinite
    where one block has all the weight.
    """

    value: Float[np.ndarray, " r"]
    stderr: Float[np.ndarray, " r"]
    gap: Float[np.ndarray, " r-1"]
    gap_stderr: Float[np.ndarray, " r-1"]
    covariance: Float[np.ndarray, "r r"]
    interval_68: Float[np.ndarray, "r 2"]
    interval_95: Float[np.ndarray, "r 2"]
    fit: GapFit | None = None


def correlator(
    theory: LatticeTheory,
    configurations: Any,
    log_weights: LogWeights | None = None,
    *,
    chains: int | None = None,
    couplings: Point | None = None,
) -> Correlator:
    """C(r) and Δ(r) of draws (n, *shape) from, or weighted to, p; arguments as of `measure`.

    Averaged over φ → -φ where `couplings` are given. Of chains the errors are those of the Γ-method
    (chains.py).

    Raises LatticeFlowsError for fewer than two draws, fewer than four slices, or numbers that are
    not finite.
    """
    length = theory.shape[0]
    if length < 4:
        raise LatticeFlowsError("a correlator needs 4 sites or more in the first direction")

    def of_slice(phi: Array) -> Array:
        samples = _samples(phi)
        if couplings is not None:
            m = samples[:, -1]
            samples[:, -1] = orbit_average(
                m, -m, actions(theory, couplings, phi), actions(theory, couplings, -phi)
            )
        return samples

    chains = None if chains is None else as_chains(chains, len(configurations), log_weights)
    samples, sample_weights = sampled(of_slice, configurations, log_weights, grouped=chains is None)

    def estimate(function: Callable[[Array], Array]) -> list[Estimate]:
        with np.errstate(invalid="ignore"):
            if chains is None:
                return reweighted(function, samples, sample_weights)
            return chain_estimates(function, samples, chains)

    found = estimate(_connected)
    gaps = estimate(lambda averages: _gaps(_connected(averages), length))
    values, errors = _columns(found)
    gap, gap_stderr = _columns(gaps)
    lost = ~np.isfinite(gap) | ~np.isfinite(gap_stderr)

    if chains is None:
        rho, rows = correlations(_connected, samples, sample_weights), len(samples)
        if sample_weights is not None:
            rows = int(rows * kish_ess(sample_weights))
    else:
        rho, rows = chain_correlations(_connected, samples, chains)
    with np.errstate(invalid="ignore"):
        covariance = np.where(rho == 0, 0.0, rho * np.outer(errors, errors))
    fit = None
    if np.isfinite(errors).all() and (errors > 0).all():

        def one(function: Callable[[Array], Array]) -> Estimate:
            (made,) = estimate(lambda averages: function(_connected(averages)))
            return made

        even = couplings is not None and theory.is_symmetric(couplings)
        fit = fit_gap(values, covariance, length, rows, even, one)
    unknown = (np.nan, np.nan)
    ends = {
        name: np.array([getattr(x, name) or unknown for x in found])
        for name in ("interval_68", "interval_95")
    }
    return Correlator(
        values,
        np.where(np.isnan(errors), np.inf, errors),
        np.where(lost, np.nan, gap),
        np.where(lost, np.inf, gap_stderr),
        covariance,
        **ends,
        fit=fit,
    )


def _columns(estimates: list[Estimate]) -> tuple[Array, Array]:
    """The values and the errors."""
    values, errors = np.array(estimates, dtype=float).reshape(-1, 2).T
    return values, errors


def exact_correlator(exact: TransferMatrix | StripSolution | GaussianAnswers) -> Correlator:
    """C(r) and Δ(r) of a chain, a torus or the free field, without errors; NaN where not known."""
    r = exact.length // 2 + 1
    value, gap = exact.connected_correlator()[:r], exact.correlator_gaps()
    none, ends = np.zeros(r), np.stack([value, value], axis=1)
    return Correlator(value, none, gap, none[1:], np.zeros((r, r)), ends, ends)


def _samples(phi: Draws) -> Float[np.ndarray, "n averages"]:
    """The mean of φ̄_t φ̄_{t+r} over t at r = 0 … T/2, and of φ."""
    length, axes = phi.shape[1], range(1, phi.ndim)
    directions = [axis for axis in axes if phi.shape[axis] == length]
    products = np.zeros((len(phi), length // 2 + 1))
    for direction in directions:
        slices = phi.mean(axis=tuple(axis for axis in axes if axis != direction))
        power = np.abs(np.fft.rfft(slices, axis=1)) ** 2 / length
        products += np.fft.irfft(power, n=length, axis=1)[:, : length // 2 + 1]
    return np.column_stack([products / len(directions), phi.reshape(len(phi), -1).mean(axis=1)])


def _connected(averages: Array) -> Array:
    """C(r) of averages (..., T/2 + 2)."""
    return averages[..., :-1] - averages[..., -1:] ** 2


def _gaps(connected: Array, length: int) -> Array:
    """Δ(r) of C(r) (..., T/2 + 1) over T = `length` slices."""
    beyond = connected[..., -2 if length % 2 == 0 else -1, None]  # C(r) = C(T-r)
    neighbours = connected[..., :-1] + np.concatenate([connected[..., 2:], beyond], axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.arccosh(neighbours / (2 * connected[..., 1:]))


def _values(averages: Array, length: int) -> Array:
    """C(r) and Δ(r) of averages (..., T/2 + 2) over T = `length` slices."""
    connected = _connected(averages)
    return np.concatenate([connected, _gaps(connected, length)], axis=-1)
