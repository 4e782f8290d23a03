"""Gauss nodes for one site of a lattice.

    ∫ f(x) w(x) dx = Σ_i w_i f(x_i)    for every polynomial f of degree 2n - 1 or less,

w(x) = e^{-v(x) - c x²} with v the one-site potential: what is left of e^{-S} is smooth, and n ≈ 8
nodes integrate it to ten digits where a uniform grid takes a hundred. The recurrence of the
polynomials that are orthogonal in w is found on a fine uniform grid, where the trapezoid rule is
exact to rounding errors (Stieltjes); the nodes are the eigenvalues of its tridiagonal matrix
(Golub & Welsch, Math. Comp. 23, 221), and 1/w_i = Σ_j p_j(x_i)².
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .errors import LatticeFlowsError
from .quadrature import Grid, Potential

# The trapezoid rule is exact on this many points, or more where the weight is narrow.
_POINTS = 501
_MOST_POINTS = 8001


class Nodes(NamedTuple):
    """x: the nodes, rising. log_w: ln [w_i / w(x_i)].

    Σ_i e^{log_w} f(x_i) is ∫ f(x) dx of what is w(x) times something smooth.
    """

    x: Grid
    log_w: Grid


def gauss_nodes(potential: Potential, c: float, n: int, even: bool) -> Nodes:
    """The `n` nodes and weights of w(x) = e^{-v(x) - c x²}, v = `potential`.

    even: v(x) = v(-x), and so will be the nodes, to the last bit.
    Raises LatticeFlowsError where w is no weight, or v overflows where it lives.
    """

    from scipy.linalg import eigh_tridiagonal  # the command line must not wait for it

    def exponent(x: Float[np.ndarray, " any"]) -> Float[np.ndarray, " any"]:
        return potential(x) + c * x * x

    # Where w is below e^{-tail} of its maximum it is left out: beyond the last of n nodes.
    grid = _support(exponent, tail=min(140.0 + 2 * n, 500.0))
    values = exponent(grid)
    weight = np.exp(values.min() - values)
    weight *= grid[1] - grid[0]
    diagonal, off = np.zeros(n), np.zeros(n)
    basis = np.zeros((n, len(grid)))
    p = np.sqrt(weight / weight.sum())
    for j in range(n):
        basis[j] = p
        diagonal[j] = 0.0 if even else np.sum(grid * p * p)
        q = grid * p
        for _ in range(2):  # orthogonal to rounding errors
            q -= basis[: j + 1].T @ (basis[: j + 1] @ q)
        off[j] = np.linalg.norm(q)
        p = q / off[j]
    x = np.asarray(eigh_tridiagonal(diagonal, off[:-1], eigvals_only=True))
    if even:
        x = (x - x[::-1]) / 2
    log_total = np.log(weight.sum()) - values.min()
    log_w = log_total - np.log(_christoffel(diagonal, off, x))
    if even:
        log_w = (log_w + log_w[::-1]) / 2
    return Nodes(x, log_w + exponent(x))


def _christoffel(diagonal: Grid, off: Grid, x: Grid) -> Grid:
    """Σ_j p_j(x)² of the polynomials of the recurrence, p_0 = 1."""
    before, here = np.zeros_like(x), np.ones_like(x)
    total = here.copy()
    for j in range(len(diagonal) - 1):
        before, here = here, ((x - diagonal[j]) * here - (off[j - 1] if j else 0) * before) / off[j]
        total += here * here
    return total


def _support(exponent: Potential, tail: float) -> Grid:
    """A fine uniform grid over all x where `exponent` is near its minimum."""
    reach = 1.0
    while True:
        x = np.linspace(-reach, reach, 2001)
        with np.errstate(over="ignore", invalid="ignore"):
            values = exponent(x)
            values = values - values.min()
        if not np.all(np.isfinite(values)):
            raise LatticeFlowsError(
                "the potential overflows where the field lives: give smaller couplings"
            )
        if min(values[0], values[-1]) > tail:
            break
        reach *= 1.5
        if reach > 1e8:
            raise LatticeFlowsError(
                "the field is not bound by its potential, or beyond 1e8: give smaller couplings"
            )
    inside = np.flatnonzero(values < tail)
    low, high = x[max(inside[0] - 1, 0)], x[min(inside[-1] + 1, len(x) - 1)]
    low, high = (-max(-low, high), max(-low, high)) if -low == high else (low, high)
    points = _POINTS
    while True:
        grid = np.linspace(low, high, points)
        values = exponent(grid)
        bend = np.max(np.abs(np.diff(values, 2)), where=values[1:-1] < values.min() + 40, initial=0)
        if 0 < bend < 0.04:
            return grid
        if points >= _MOST_POINTS:
            break
        points = 2 * points - 1
    if not 0 < bend < 0.3:
        raise LatticeFlowsError(
            "the wells are too deep for double precision: give smaller couplings"
        )
    return grid
