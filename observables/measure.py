"""All observables of an ensemble with errors, and whether they can be believed."""

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theories.errors import LatticeFlowsError
from theories.theory import Theory

from . import weights
from .estimate import Estimate
from .estimators import as_samples, jackknife
from .magnetization import binder_cumulant, magnetization, susceptibility
from .orbit import actions, orbit_average

# What is measured, in the order of every table, and what files call it.
LONG_NAMES = {
    "magnetization": "magnetization <M>, M = sum of phi over the sites / V",
    "abs_magnetization": "absolute magnetization <|M|>",
    "susceptibility": "susceptibility V (<M^2> - <M>^2)",
    "susceptibility_abs": "susceptibility V (<M^2> - <|M|>^2)",
    "binder_cumulant": "Binder cumulant 1 - <M^4> / (3 <M^2>^2)",
    "phi2": "mean of phi^2 over the sites",
    "phi4": "mean of phi^4 over the sites",
    "action_density": "action per site <S> / V",
    "positive_mode_weight": "probability of a positive magnetization P(M > 0)",
    "log_z": "logarithm of the partition function, log of the integral of exp(-S)",
}


@dataclass(frozen=True)
class Measurement:
    """Observables by name with errors, and what the weights say about them.

    `log_z` is None for draws without weights (a chain, exact samples): they do not tell Z. `ess` is
    a fraction in (0, 1]. Numbers with `reliable` False must not be used.
    """

    observables: dict[str, Estimate]
    log_z: Estimate | None
    ess: float
    max_weight_share: float
    reliable: bool
    n: int

    def as_json(self) -> dict:
        """The part of a JSON report that is about measurements; an infinite error is null."""
        return {
            "observables": {name: _pair(value) for name, value in self.observables.items()},
            "log_z": None if self.log_z is None else _pair(self.log_z),
            "ess": self.ess,
            "max_weight_share": self.max_weight_share,
            "reliable": self.reliable,
            "n": self.n,
        }


def measure(
    theory: Theory, couplings, configurations: ArrayLike, log_weights: ArrayLike | None = None
) -> Measurement:
    """Measure every observable on draws from (or weighted to) p ∝ e^{-S}.

    Arguments:
        configurations: (n, *theory.shape), in the order drawn.
        log_weights: (n,) log(e^{-S}/q) with q normalised; None for draws from p itself. Errors take
            the draws, or blocks of n/200 of them, as independent.

    Every observable is averaged over the Z₂ orbit first (see orbit.py), so that for a symmetric
    theory ⟨M⟩ = 0 and P(M>0) = ½ come out exactly, without error. A configuration with M = 0 counts
    half in P(M>0).

    Raises LatticeFlowsError for shapes that do not fit, fewer than two configurations, and numbers
    that are not finite.
    """
    phi = np.asarray(configurations, dtype=np.float64)
    if phi.shape[1:] != tuple(theory.shape):
        raise LatticeFlowsError(
            f"configurations of shape {phi.shape[1:]} do not fit the lattice {tuple(theory.shape)}"
        )
    phi = as_samples(phi)
    n, sites = len(phi), theory.sites
    if log_weights is None:
        log_z, ess, share = None, 1.0, 1.0 / n
    else:
        log_weights = weights.as_log_weights(log_weights, n)
        log_z = weights.log_mean_weight(log_weights)
        ess, share = weights.kish_ess(log_weights), weights.max_weight_share(log_weights)

    with np.errstate(over="ignore", invalid="ignore"):  # refused below, with the number of them
        samples = _samples(theory, couplings, phi)
    values, covariance = jackknife(lambda a: _observables(a, sites), samples, log_weights)
    errors = np.sqrt(np.diag(covariance))
    names = [name for name in LONG_NAMES if name != "log_z"]
    return Measurement(
        observables={
            name: Estimate(float(value), float(error))
            for name, value, error in zip(names, values, errors, strict=True)
        },
        log_z=log_z,
        ess=ess,
        max_weight_share=share,
        reliable=weights.is_reliable(ess, share, n) and bool(np.isfinite(errors).all()),
        n=n,
    )


def _samples(theory: Theory, couplings, phi: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is averaged, (n, 8): M |M| M² M⁴ φ² φ⁴ S/V [M>0], each averaged over the orbit."""
    m = magnetization(phi)
    s, s_minus = (actions(theory, couplings, sign * phi) for sign in (1, -1))
    positive = np.heaviside(m, 0.5)
    squares = phi.reshape(len(phi), -1) ** 2
    return np.stack(
        [
            orbit_average(m, -m, s, s_minus),
            np.abs(m),
            m**2,
            m**4,
            squares.mean(axis=1),
            (squares**2).mean(axis=1),
            orbit_average(s, s_minus, s, s_minus) / theory.sites,
            orbit_average(positive, 1 - positive, s, s_minus),
        ],
        axis=1,
    )


def _observables(averages: NDArray[np.float64], sites: int) -> NDArray[np.float64]:
    """The observables, in the order of LONG_NAMES, of averages (..., 8) of `_samples`."""
    m, abs_m, m2, m4, phi2, phi4, action, positive = np.moveaxis(averages, -1, 0)
    return np.stack(
        [
            m,
            abs_m,
            susceptibility(m2, m, sites),
            susceptibility(m2, abs_m, sites),
            binder_cumulant(m4, m2),
            phi2,
            phi4,
            action,
            positive,
        ],
        axis=-1,
    )


def _pair(estimate: Estimate) -> dict[str, float | None]:
    return {
        name: number if isfinite(number) else None for name, number in estimate._asdict().items()
    }
