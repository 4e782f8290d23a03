"""Where a chain lives on the real line, and how finely it must be resolved there.

Each site of a chain with S = a Σ (φ_i - φ_{i+1})² + Σ v(φ_i) is put on a uniform grid. The
trapezoid rule on it converges like e^{-2π²σ²/h²}, σ² ≈ 1/(4a + v'') being the variance of a site
between fixed neighbours, so a spacing h ≈ 0.6 σ already leaves only rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from .errors import LatticeFlowsError

Potential = Callable[[Any], Any]
"""Elementwise, of numpy arrays."""
Grid = Float[np.ndarray, " points"]
"""Places, or one number at each of them."""

# Field values whose probability is below about e^{-LOG_TAIL} are left out.
LOG_TAIL = 60.0


def support(potential: Potential, stiffness: float, length: int) -> tuple[float, float]:
    """An interval outside of which a site of the chain has probability below about e^{-60}.

    A site at x costs at least v(x) (above the minimum), and at least the cheapest excursion from
    the well: down to some y along the way, where the whole chain may stay, by AM-GM
    a Δ² + v ≥ 2 √(a v) |Δ| on both sides of the site. The larger of the two bounds rules.
    """
    reach = 1.0
    while True:
        x = np.linspace(-reach, reach, 4001)
        with np.errstate(over="ignore", invalid="ignore"):
            excess = potential(x)
            depth = length * (excess.max() - excess.min())
        if not np.isfinite(depth):
            raise LatticeFlowsError(
                "the potential overflows where the field lives: give smaller couplings"
            )
        well = int(np.argmin(excess))
        excess = excess - excess[well]
        travel = np.concatenate([[0.0], np.cumsum(np.sqrt(excess[1:]) + np.sqrt(excess[:-1]))])
        travel = 2 * np.sqrt(stiffness) * (x[1] - x[0]) * np.abs(travel - travel[well])
        stay = length * excess - travel
        stay[well:] = np.minimum.accumulate(stay[well:])
        stay[: well + 1] = np.minimum.accumulate(stay[well::-1])[::-1]
        inside = np.flatnonzero(np.maximum(excess, travel + stay) < LOG_TAIL)
        if not len(inside):  # its own well is lost to rounding
            raise LatticeFlowsError(
                "the wells are too deep for double precision: give smaller couplings"
            )
        if inside[0] > 0 and inside[-1] < len(x) - 1:
            return float(x[inside[0] - 1]), float(x[inside[-1] + 1])
        reach *= 2


def resolution(potential: Potential, stiffness: float, low: float, high: float) -> float:
    """A first guess of the grid spacing; the caller checks it by halving."""
    x = np.linspace(low, high, 2001)
    curvature = np.max(np.diff(potential(x), 2)) / (x[1] - x[0]) ** 2
    return 0.6 / np.sqrt(4 * stiffness + max(curvature, 0.0))


def uniform_grid(low: float, high: float, spacing: float) -> Grid:
    """Equally spaced points that reach both ends, at most `spacing` apart."""
    return np.linspace(low, high, int(np.ceil((high - low) / spacing)) + 1)


def kernel(
    potential: Potential, stiffness: float, x: Grid, weights: Grid | float
) -> Float[np.ndarray, "points points"]:
    """√w K √w with K(x,y) = exp[-a(x-y)² - ½v(x) - ½v(y)] for quadrature nodes and weights."""
    half = 0.5 * (np.log(weights) - potential(x))
    return np.exp(half[:, None] + half[None, :] - stiffness * np.subtract.outer(x, x) ** 2)
