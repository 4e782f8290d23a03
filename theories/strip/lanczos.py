"""The leading eigenvectors of a symmetric matrix that is only applied, by Lanczos' method.

Every new vector of the basis is made orthogonal to all before, twice, so that no eigenvalue comes
up again by rounding errors (Golub & Van Loan, Matrix Computations, § 10.3). A Ritz value θ_j with
residual r_j is within r_j of an eigenvalue. Of degenerate eigenvectors one is found: symmetries are
to be used first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

_EVERY = 6
_BLOCK = 24


def leading_eigenvectors(
    apply: Callable[[Float[np.ndarray, " d"]], Float[np.ndarray, " d"]],
    start: Float[np.ndarray, " d"],
    cut: float,
    scale: float | None,
    most: int,
    tolerance: float,
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k d"], float]:
    """(values, vectors, above): every eigenvalue above `cut` in the space `start` reaches.

    They fall; `cut` and `tolerance`, which residuals are below, are in units of `scale`, or of the
    largest eigenvalue where that is None. A basis of `most` vectors that is not enough leaves some
    out: `above` is `cut` or, then, the value (in the same unit) above which all of them are there.
    """
    from scipy.linalg import eigh_tridiagonal  # the command line must not wait for it

    blocks: list[np.ndarray] = []  # of the basis; growing one array would copy it
    diagonal, off = [], []
    norm = float(np.linalg.norm(start))
    if norm == 0:
        return np.empty(0), np.empty((0, len(start))), cut
    v = start / norm
    for m in range(1, most + 1):
        filled = (m - 1) % _BLOCK
        if filled == 0:
            blocks.append(np.zeros((min(_BLOCK, most - m + 1), len(start))))
        blocks[-1][filled] = v
        w = apply(v)
        diagonal.append(float(v @ w))
        for _ in range(2):
            for block in blocks:
                w -= (block @ w) @ block
        beta = float(np.linalg.norm(w))
        exhausted = m == len(start) or beta <= 1e-15 * max(diagonal)
        if m % _EVERY == 0 or m == most or exhausted:
            values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(off))
            unit = scale or float(values[-1])
            unfinished = values[beta * np.abs(vectors[-1]) > tolerance * unit]
            above = cut if exhausted else max(cut, float(max(unfinished, default=0.0)) / unit)
            if exhausted or m == most or (above == cut and values[0] < cut * unit):
                keep = np.flatnonzero(values > above * unit)[::-1]
                found = np.zeros((len(keep), len(start)))
                for i, block in enumerate(blocks):
                    part = vectors[_BLOCK * i : _BLOCK * (i + 1), keep]
                    found += part.T @ block[: len(part)]
                return values[keep], found, above
        off.append(beta)
        v = w / beta
    raise AssertionError("unreachable")
