"""Exact independent samples of a chain.

The chain is first drawn on a grid: one site from the diagonal of K^N, then the middle of every gap
between known sites, φ_mid ~ K^l(left, ·) K^r(·, right), until no gap is left (a discrete bridge).
Then every site leaves the grid: sites without a common bond are drawn afresh, continuously, from
p(φ_i | neighbours), until each has been redrawn once.

The result has the continuous density p, not an approximation to it: with the sites still on the
grid summed by the trapezoid rule, which is exact here to rounding errors, each partial state has
the right joint density of the sites redrawn so far.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from .quadrature import Grid, Potential, kernel

# Weights held in memory at a time: small enough for the processor's cache.
CHUNK = 2**15


def sample_chain(
    rng: np.random.Generator,
    n: int,
    length: int,
    potential: Potential,
    stiffness: float,
    x: Grid,
) -> Float[np.ndarray, "{n} {length}"]:
    """n configurations of a chain of `length` sites; float64.

    `x` is a uniform grid over the support on which the trapezoid rule has converged, and
    `potential` is measured from its minimum.
    """
    phi = x[_draw_on_grid(rng, n, length, kernel(potential, stiffness, x, x[1] - x[0]))]
    # An odd ring needs a third colour: its last site neighbours its first.
    last = length - length % 2
    for colour in (slice(0, last, 2), slice(1, last, 2), slice(last, length)):
        fields = (np.roll(phi, 1, axis=1) + np.roll(phi, -1, axis=1))[:, colour]
        phi[:, colour] = draw_sites(rng, fields, x, potential, stiffness)
    return phi


def _draw_on_grid(
    rng: np.random.Generator, n: int, length: int, matrix: Float[np.ndarray, "points points"]
) -> Int[np.ndarray, "{n} {length}"]:
    """Indices of grid points, with probability ∝ Π_i K(φ_i, φ_{i+1})."""
    # In units of its largest eigenvalue the powers of K neither overflow nor vanish. They are sums
    # of positive terms: every entry keeps its relative accuracy.
    powers = {1: matrix / np.linalg.norm(matrix, 2)}

    def power(exponent: int) -> np.ndarray:
        if exponent not in powers:
            half = exponent // 2
            powers[exponent] = power(half) @ power(exponent - half)
        return powers[exponent]

    # Column `length` repeats column 0: the ring is a bridge that ends where it began.
    indices = np.empty((n, length + 1), dtype=np.intp)
    diagonal = np.diagonal(power(length))
    indices[:, 0] = rng.choice(len(diagonal), size=n, p=diagonal / diagonal.sum())
    indices[:, length] = indices[:, 0]
    gaps = [(0, length)]
    while gaps:
        left, right = gaps.pop()
        if right - left < 2:
            continue
        middle = (left + right) // 2
        from_left, from_right = power(middle - left), power(right - middle)
        for rows in _chunks(n, 64 * CHUNK // len(matrix)):
            # Few pairs of ends are different: one cumulative sum serves all who share them.
            ends = indices[rows, left] * len(matrix) + indices[rows, right]
            pairs, which = np.unique(ends, return_inverse=True)
            weights = from_left[pairs // len(matrix)] * from_right[pairs % len(matrix)]
            indices[rows, middle] = _choose(weights, which, rng.random(len(which)))
        gaps += [(left, middle), (middle, right)]
    return indices[:, :length]


def draw_sites(
    rng: np.random.Generator,
    fields: Float[np.ndarray, "n sites"],
    x: Grid,
    potential: Potential,
    stiffness: float,
) -> Float[np.ndarray, "n sites"]:
    """φ ~ exp[-2aφ² + 2a f φ - v(φ)], continuous, for sums of neighbours f, `fields`.

    A grid shifted by a uniformly random part of its spacing is a continuous variable: the sum of
    the density over the shifted grid does not depend on the shift (the trapezoid rule again), so
    choosing a point of it with probability ∝ the density samples the density itself.
    """
    if fields.size == 0:
        return fields
    centres = fields.reshape(-1) / 2
    result = np.empty_like(centres)
    spacing = x[1] - x[0]
    # The weight at the centre is e^{-v}; e^{-40} below it nothing is lost.
    reach = np.sqrt((40 + np.max(potential(centres))) / (2 * stiffness))
    steps = np.arange(-np.ceil(reach / spacing), np.ceil(reach / spacing) + 1)
    for rows in _chunks(len(centres), CHUNK // min(len(steps), len(x))):
        shift = spacing * rng.uniform(-0.5, 0.5, size=len(centres[rows]))
        if len(steps) < len(x):
            points = (centres[rows] + shift)[:, None] + spacing * steps
        else:
            points = shift[:, None] + x
        weights = np.exp(-2 * stiffness * (points - centres[rows, None]) ** 2 - potential(points))
        chosen = _choose(weights, np.arange(len(shift)), rng.random(len(shift)))
        result[rows] = points[np.arange(len(shift)), chosen]
    return result.reshape(fields.shape)


def _choose(weights: np.ndarray, rows: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """A column for each entry of `rows`, with probability ∝ that row of `weights`."""
    cumulative = np.cumsum(weights, axis=1)
    cumulative /= cumulative[:, -1:]
    # All rows end to end make one increasing sequence, in which one search finds every answer.
    cumulative += np.arange(len(weights))[:, None]
    found = np.searchsorted(cumulative.reshape(-1), rows + uniforms, side="right")
    return np.minimum(found - rows * weights.shape[1], weights.shape[1] - 1)


def _chunks(total: int, size: int) -> list[slice]:
    return [slice(start, start + max(1, size)) for start in range(0, total, max(1, size))]
