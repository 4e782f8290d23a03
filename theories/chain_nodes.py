"""Nodes and weights for one site of a chain, ever more of them, Σ_i w_i f(x_i) ≈ ∫ f(x) dx.

Gauss nodes (gauss.py) of e^{-v(x) - c x²} know v whatever its shape, and see of the transfer matrix
e^{-a(x-y)²} alone. n of them reach out to about √(2n/c), in steps of π/√(2nc) in the middle: with
c ∝ a/√n both improve as n grows. A uniform grid has no such limit, but many times the points.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .errors import LatticeFlowsError
from .gauss import gauss_nodes
from .quadrature import Grid, Potential, resolution, uniform_grid

Rule = tuple[Grid, Grid]
"""Nodes and weights; of an even potential x and -x are both nodes, and 0 is none."""

MAX_POINTS = 4000
_COUNTS = (24, 36, 54, 80, 120, 180)


def gauss_rules(
    potential: Potential, stiffness: float, low: float, high: float, even: bool
) -> Iterator[Rule]:
    """Of 24 nodes, 36, … 180: those that reach the ends, or nearly, and double precision has."""
    for n in _COUNTS:
        c = 2.5 * stiffness / np.sqrt(n)
        if 4 * n < c * max(-low, high) ** 2:
            continue
        try:
            nodes = gauss_nodes(potential, c, n, even)
        except LatticeFlowsError:
            return
        if np.max(nodes.log_w) > 100:  # a node between wells so deep that there is no weight
            return
        yield nodes.x, np.exp(nodes.log_w)


def uniform_rules(
    potential: Potential, stiffness: float, low: float, high: float, even: bool
) -> Iterator[Rule]:
    """Grids over [low, high], each of half the spacing.

    Raises LatticeFlowsError before they become larger than is sensible.
    """
    spacing = resolution(potential, stiffness, low, high)
    refuse_large((high - low) / spacing * 2)  # it will be halved: refused before minutes of work
    while True:
        yield uniform_rule(low, high, spacing, even)
        spacing /= 2


def uniform_rule(low: float, high: float, spacing: float, even: bool) -> Rule:
    """A grid over [low, high], or a little more, of `spacing` or a little less.

    Raises LatticeFlowsError for more points than are sensible.
    """
    refuse_large((high - low) / spacing)
    x = uniform_grid(low, high, spacing)
    if even:
        bound = max(-low, high)
        count = int(np.ceil(bound / spacing + 0.5))
        right = bound / (count - 0.5) * (np.arange(count) + 0.5)
        x = np.concatenate([-right[::-1], right])
    return x, np.full_like(x, x[1] - x[0])


def refuse_large(points: float) -> None:
    """Raises LatticeFlowsError for more grid points than are sensible."""
    if points > MAX_POINTS:
        raise LatticeFlowsError(
            f"the transfer matrix would need {points:.0f} grid points (at most {MAX_POINTS}); "
            "use couplings with a softer chain or narrower wells"
        )
