"""The gap of the spectrum, by a correlated fit of the correlator over a plateau.

    C(r) = A cosh(Δ (T/2 - r)),    r = r_min … T/2,

what the lowest excited state makes of a periodic lattice of T slices, C the connected correlator.
The fit minimises χ² = δᵀ S⁻¹ δ, δ its residuals and S the covariance of the C(r), which go up and
down together. It is made in Δ², of which cosh is analytic, so that noise about a small gap does no
harm; A, on which C depends linearly, is found for each Δ.

Higher states, and on short lattices transitions between excited states, bend C upwards at small r
and make Δ too large. How good the fit is does not tell them: a bias of three errors passes χ². So
the window begins one decay length out, at the smallest r_min ≥ 1/Δ of the fit itself at which the
p-value is above 0.05, or with the last three points where there is none. What is left of a bias
depends on T Δ. Where φ → -φ is no symmetry, states have means of their own, and C(r) contains the
variance of these: a constant that is not fitted (with one, the fit takes the gap between excited
states for Δ), and makes Δ too small unless T Δ is large. The p-value is that of Hotelling's T², as
S is itself an estimate (Toussaint & Freeman, arXiv:0808.2211).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import f

from .estimate import Estimate

Array = NDArray[np.float64]

MIN_P_VALUE = 0.05
# Decay lengths of a lattice where a bias is below the error, by whether φ → -φ is a symmetry
# (docs/errors.md).
_LEAST_REACH = {True: 4.0, False: 12.0}
_LEAST_EIGENVALUE = 1e-10
_STEPS = 30
_LARGEST = 25.0  # of Δ²: C(1) is e^{-5} C(0) then
_GRID = np.concatenate([-(np.geomspace(1.0, 1e-3, 12)), np.geomspace(1e-4, 9.0, 60)])


@dataclass(frozen=True)
class GapFit:
    """Δ in lattice units with its error, and how good the fit is.

    value and its error are NaN and infinite where the noise leaves no gap. window: r_min and T/2,
    both in the fit. decay_lengths: T Δ. even: φ → -φ is a symmetry.
    """

    gap: Estimate
    chi2: float
    dof: int
    window: tuple[int, int]
    p_value: float
    decay_lengths: float
    even: bool

    @property
    def is_long_enough(self) -> bool:
        return self.decay_lengths >= _LEAST_REACH[self.even]

    @property
    def reliable(self) -> bool:
        """Whether there is a gap, no bias above its error is to be expected, and p is above .05."""
        known = bool(np.isfinite(self.gap.stderr))
        return known and self.is_long_enough and self.p_value > MIN_P_VALUE

    def as_json(self) -> dict[str, Any]:
        """As reports have it; a gap that is not known is null."""
        return self.gap.as_json() | {
            "chi2_per_dof": self.chi2 / self.dof,
            "dof": self.dof,
            "window": list(self.window),
            "p_value": self.p_value,
            "decay_lengths": self.decay_lengths if np.isfinite(self.decay_lengths) else None,
            "reliable": self.reliable,
        }


def fit_gap(
    correlator: Float[np.ndarray, " p"],
    covariance: Float[np.ndarray, "p p"],
    length: int,
    rows: int,
    even: bool,
    estimate: Callable[[Callable[[Array], Array]], Estimate],
) -> GapFit:
    """The fit to C(r) at r = 0 … T/2, T = `length`.

    Arguments:
        correlator: what is fitted. covariance: from `rows` independent draws.
        even: whether φ → -φ is a symmetry.
        estimate: makes the estimate, with its error, of a function of C, (..., p) → (..., 1): by
            the jackknife or whatever the error of C itself is from.
    """
    last = len(correlator) - 1
    for r_min in range(last - 1):
        window = slice(r_min, last + 1)
        root = _root(covariance[window, window])
        place: Array = length / 2 - np.arange(r_min, last + 1, dtype=np.float64)
        squared, chi2 = _start(correlator[window], root, place)
        dof = last - r_min - 1
        p_value = _p_value(chi2, dof, rows)
        if r_min**2 * squared >= 1 and p_value > MIN_P_VALUE:
            break

    def gap(c: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return np.sqrt(_minimum(c[..., window], root, place, squared))[..., None]

    found = estimate(gap)
    return GapFit(found, chi2, dof, (r_min, last), p_value, length * found.value, even)


def _p_value(chi2: float, dof: int, rows: int) -> float:
    """The probability of a χ² at least as large, of `dof` where S is from `rows` draws."""
    if rows <= dof + 1:
        return 1.0
    return float(f.sf(chi2 * (rows - dof) / (dof * (rows - 1)), dof, rows - dof))


def _root(covariance: Float[np.ndarray, "p p"]) -> Float[np.ndarray, "p p"]:
    """W with Wᵀ W = S⁻¹. Eigenvalues of the correlations that are rounding noise are lifted."""
    size = np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance / np.outer(size, size))
    values = np.maximum(values, _LEAST_EIGENVALUE * values[-1])
    return (vectors / np.sqrt(values)).T / size


def _cosh(squared: Any, place: Array) -> tuple[Array, Array]:
    """cosh(Δx) and its derivative with respect to Δ², at Δ² (...) of either sign: (..., x).

    Both are divided by the same e^{Δ max x}, which A makes up for.
    """
    u = squared[..., None] * place**2
    root = np.sqrt(np.abs(u))
    small = root < 1e-3
    safe = np.where(small, 1.0, root)
    largest = np.where(u >= 0, root, 0.0).max(axis=-1, keepdims=True)
    grown, shrunk = np.exp(np.minimum(safe - largest, 1.0)), np.exp(-safe - largest)
    scale = np.exp(-largest)
    value = np.where(u >= 0, (grown + shrunk) / 2, np.cos(root))
    value = np.where(small, scale * (1 + u / 2), value)
    slope = np.where(u >= 0, (grown - shrunk) / 2, np.sin(safe)) / (2 * safe)
    return value, place**2 * np.where(small, scale * (0.5 + u / 12), slope)


def _residuals(c: Array, root: Array, squared: Any, place: Array) -> tuple[Array, Array]:
    """Whitened residuals at the best A, and their derivatives with respect to Δ²: (..., x)."""
    value, slope = _cosh(squared, place)
    y, h, dh = c @ root.T, value @ root.T, slope @ root.T
    norm = (h * h).sum(axis=-1, keepdims=True)
    a = (y * h).sum(axis=-1, keepdims=True) / norm
    change = ((y - 2 * a * h) * dh).sum(axis=-1, keepdims=True) / norm
    return y - a * h, -a * dh - change * h


def _start(c: Array, root: Array, place: Array) -> tuple[float, float]:
    """Δ² of the lowest χ², and that χ²."""
    residuals, _ = _residuals(c, root, _GRID, place)
    best = _GRID[np.argmin((residuals**2).sum(axis=-1))]
    squared = _minimum(c, root, place, float(best))
    residuals, _ = _residuals(c, root, squared, place)
    return float(squared), float((residuals**2).sum())


def _minimum(c: Array, root: Array, place: Array, start: float) -> Any:
    """Δ² of the lowest χ² for each c (..., x), from a start close by, by Gauss and Newton."""
    squared = np.full(c.shape[:-1], start)
    for _ in range(_STEPS):
        residuals, slopes = _residuals(c, root, squared, place)
        size = (slopes**2).sum(axis=-1)  # 0 where C tells nothing of Δ
        step = -(residuals * slopes).sum(axis=-1) / np.where(size > 0, size, 1.0)
        bound = 0.5 * np.abs(squared) + 0.05 / place.max() ** 2
        squared = np.clip(squared + np.clip(step, -bound, bound), -1.0, _LARGEST)
        if np.all(np.abs(step) < 1e-12 + 1e-10 * np.abs(squared)):
            break
    return squared
