"""Eigenvalues and eigenfunctions of the transfer matrix of a chain, on nodes with weights w.

    (K ψ)(x) = Σ_y w(y) K(x, y) ψ(y),    K(x, y) = exp[-a(x-y)² - ½v(x) - ½v(y)]

What is diagonalised knows eigenvalues to a rounding error of the *largest*, κ_0: of two wells that
are separated by more, the splitting κ_0 - κ_1 would be that rounding error. Where v is even, the
eigenfunctions are even or odd, and on the half line x > 0 the matrices for them are K(x, y) ±
K(x, -y), both with positive elements. Between their leading eigenfunctions ψ_0, ψ_1 > 0 they give

    κ_0 - κ_1 = 2 Σ_{x,y>0} ψ_1(x) K(x, -y) ψ_0(y) / Σ_{x>0} ψ_1(x) ψ_0(x)

(K and ψ here with √w at every node),

a sum of positive terms: nothing cancels, however small it is (Herring, Rev. Mod. Phys. 34, 631,
has its like for the Schrödinger equation). High powers of a matrix of positive elements are sums of
positive terms, too, and give ψ_0 and ψ_1 to a relative accuracy also where they are tiny.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .quadrature import Grid, Potential, kernel

EPSILON = float(np.finfo(np.float64).eps)
# Eigenvalues that are no larger, compared with κ_0, are rounding errors.
_SMALLEST = 1e-16
# A splitting above this is known to many digits as a plain difference.
_PLAIN = 1e-4
_SQUARINGS = 60


class Eigenstates(NamedTuple):
    """Of √w K √w in order of falling κ_j; ψ_j is normalised to Σ_x ψ_j(x)² = 1.

    log_scale: ln κ_0. deficits: 1 - κ_j/κ_0, in [0, 1). psi: the ψ_j, √w times those of K.
    """

    log_scale: float
    deficits: Float[np.ndarray, " states"]
    psi: Float[np.ndarray, "points states"]


def eigenstates(
    potential: Potential, stiffness: float, x: Grid, weights: Grid, even: bool
) -> Eigenstates:
    """The eigenstates on the nodes `x`, rising, with positive weights.

    potential: measured from its minimum; `even` says that it is that of φ and -φ alike, and so
    must be the nodes, none of them 0.
    """
    if even:
        half = len(x) // 2
        return _of_each_parity(potential, stiffness, x[half:], weights[half:])
    values, psi = np.linalg.eigh(kernel(potential, stiffness, x, weights))
    return _ordered(float(values[-1]), 1 - values / values[-1], psi)


def _of_each_parity(
    potential: Potential, stiffness: float, right: Grid, weights: Grid
) -> Eigenstates:
    near = kernel(potential, stiffness, right, weights)
    overlap = -4 * stiffness * np.outer(right, right)  # of ln K(x, -y) - ln K(x, y)
    far = near * np.exp(overlap)
    even, odd = near + far, near * -np.expm1(overlap)
    even_values, even_psi = np.linalg.eigh(even)
    odd_values, odd_psi = np.linalg.eigh(odd)
    scale = float(even_values[-1])
    deficits = 1 - np.append(even_values, odd_values) / scale
    if deficits[-1] < _PLAIN:
        first, second = _leading(even), _leading(odd)
        deficits[-1] = 2 * (second @ far @ first) / (second @ first) / scale
    psi = np.concatenate(
        [
            np.concatenate([even_psi[::-1], even_psi]),
            np.concatenate([-odd_psi[::-1], odd_psi]),
        ],
        axis=1,
    )
    return _ordered(scale, deficits, psi / np.sqrt(2))


def _ordered(
    scale: float,
    deficits: Float[np.ndarray, " states"],
    psi: Float[np.ndarray, "points states"],
) -> Eigenstates:
    keep = np.flatnonzero(deficits < 1 - _SMALLEST)
    keep = keep[np.argsort(deficits[keep], kind="stable")]
    return Eigenstates(float(np.log(scale)), deficits[keep], psi[:, keep])


def _leading(matrix: Float[np.ndarray, "points points"]) -> Grid:
    """The leading eigenvector of a matrix of positive elements, every element to its own accuracy.

    Of K, K², K⁴, … until it stands still.
    """
    vector = np.zeros(len(matrix))
    for _ in range(_SQUARINGS):
        matrix = matrix @ matrix
        matrix /= matrix.max()
        before, vector = vector, matrix.sum(axis=1)
        vector /= vector.max()
        if np.all(np.abs(vector - before) <= 1e-11 * vector):
            break
    return vector
