"""The leading eigenvectors of a symmetric matrix that is only applied, by Lanczos' method.

Every new vector of the basis is made orthogonal to all before, twice, so that no eigenvalue comes
up again by rounding errors (Golub & Van Loan, Matrix Computations, § 10.3). A Ritz value θ_j with
residual r_j is within r_j of an eigenvalue. Of degenerate eigenvectors one is found: symmetries are
to be used first. They leave several spaces apart, and one application serves a vector of each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

_EVERY = 4
_BLOCK = 24

Vectors = Float[np.ndarray, "spaces d"]


def leading_eigenvectors(
    apply: Callable[[Vectors], Vectors],
    starts: Vectors,
    cut: float,
    scale: float,
    most: int,
    tolerance: float,
) -> tuple[list[Basis], float, float]:
    """(bases, scale, above): of each space one, with every eigenvalue above `above`.

    apply: the matrix, to a vector of each space at once. `scale` is the largest eigenvalue of all,
    or what comes back as such, if larger; `cut` and `tolerance`, which residuals are below, are in
    units of it. A basis of `most` vectors that is not enough leaves some out: `above` is `cut` or,
    then, the value (in the same unit) above which all of them are there.
    """
    bases = [Basis(start, most) for start in starts]
    above = cut
    growing = [i for i, basis in enumerate(bases) if not basis.exhausted]
    vectors = np.zeros_like(starts)
    for m in range(1, most + 1):
        if not growing:
            break
        vectors[:] = 0
        for i in growing:
            vectors[i] = bases[i].last
        applied = apply(vectors)
        for i in growing:
            bases[i].grow(applied[i])
        if m % _EVERY and m != most and not any(bases[i].exhausted for i in growing):
            continue
        for i in growing:
            bases[i].diagonalise()
        scale = max(scale, *(bases[i].values[-1] for i in growing))
        for i in tuple(growing):
            basis = bases[i]
            unfinished = basis.values[basis.residuals > tolerance * scale]
            least = max(cut, float(max(unfinished, default=0.0)) / scale)
            if basis.exhausted or (least == cut and basis.values[0] < cut * scale):
                growing.remove(i)
            elif m == most:
                above = max(above, least)
    return bases, scale, above


class Basis:
    """An orthonormal basis of the space that a vector and powers of the matrix span.

    last: the vector that was added last. exhausted: it spans all there is. values, residuals: those
    of the Ritz vectors when it was last diagonalised, rising.
    """

    def __init__(self, start: Float[np.ndarray, " d"], most: int) -> None:
        norm = float(np.linalg.norm(start))
        self._dimension, self._most = len(start), most
        self._diagonal: list[float] = []
        self._off: list[float] = []
        self._blocks: list[np.ndarray] = []  # growing one array would copy it
        self.exhausted = norm == 0
        self.values = self.residuals = np.empty(0)
        if norm:
            self._add(start / norm)

    def _add(self, vector: Float[np.ndarray, " d"]) -> None:
        filled = len(self._diagonal) % _BLOCK
        if filled == 0:
            self._blocks.append(np.zeros((min(_BLOCK, self._most + 1), self._dimension)))
        self._blocks[-1][filled] = vector
        self.last = self._blocks[-1][filled]

    def grow(self, w: Float[np.ndarray, " d"]) -> None:
        """By the matrix applied to `last`."""
        self._diagonal.append(float(self.last @ w))
        for _ in range(2):
            for block in self._blocks:
                w = w - (block @ w) @ block
        self._beta = beta = float(np.linalg.norm(w))
        count = len(self._diagonal)
        self.exhausted = count == self._dimension or beta <= 1e-15 * max(self._diagonal)
        if not self.exhausted:
            self._off.append(beta)
            self._add(w / beta)

    def diagonalise(self) -> None:
        """Find the Ritz vectors of all that the matrix has been applied to."""
        from scipy.linalg import eigh_tridiagonal  # the command line must not wait for it

        diagonal = np.array(self._diagonal)
        self.values, self._ritz = eigh_tridiagonal(diagonal, self._off[: len(diagonal) - 1])
        self.residuals = self._beta * np.abs(self._ritz[-1])

    def above(self, value: float) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k d"]]:
        """Ritz values above `value`, falling, and their vectors."""
        keep = np.flatnonzero(self.values > value)[::-1]
        found = np.zeros((len(keep), self._dimension))
        for i, block in enumerate(self._blocks):
            part = (
                self._ritz[_BLOCK * i : _BLOCK * (i + 1), keep] if len(keep) else np.empty((0, 0))
            )
            found += part.T @ block[: len(part)] if len(part) else 0.0
        return self.values[keep], found
