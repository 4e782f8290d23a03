"""The least-squares problem itself.

The mean over nodes of the variance of E (moments.py) is least where

    Σ_n w_n [G_n ⊗ b_n b_nᵗ] θ = -Σ_n w_n v_n ⊗ b_n,

G_n and v_n the covariances at node n, b_n the polynomials of its time and couplings. Every column
is scaled to norm 1, and a ridge is added: what the walkers do not tell is left alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve

from lattice_flows.training.least_squares.moments import Moments

_RIDGE = 1e-7


class Solution(NamedTuple):
    """coefficients: (pairs, D). bends: the change of the path, (k,). residual: the standard
    deviation of E at each node. constant: C there."""

    coefficients: Float[np.ndarray, "P D"]
    bends: Float[np.ndarray, " k"]
    residual: Float[np.ndarray, " nodes"]
    constant: Float[np.ndarray, " nodes"]


def solve(
    moments: Sequence[Moments],
    basis: Float[np.ndarray, "nodes D"],
    weights: Float[np.ndarray, " nodes"],
    rates: Float[np.ndarray, "nodes k"] | None = None,
) -> Solution:
    """The coefficients; and with `rates`, those of Σφ² in ∂_t f, the change of the path."""
    pairs, degree = len(moments[0].mean) - 1, basis.shape[1]
    bent = np.zeros((len(moments), 0)) if rates is None else rates
    size, many = pairs * degree, bent.shape[1]
    power = np.mean([np.diag(m.covariance)[:pairs] for m in moments], axis=0)
    scale = 1 / np.sqrt(power + 1e-20)
    matrix, right = np.zeros((size + many, size + many)), np.zeros(size + many)
    block = np.zeros((pairs, degree, pairs, degree))
    for m, b, w, rate in zip(moments, basis, weights, bent, strict=True):
        inner = m.covariance[:pairs, :pairs] * np.outer(scale, scale)
        block += w * np.einsum("ij,a,b->iajb", inner, b, b)
        right[:size] += w * np.kron(m.with_rate[:pairs] * scale, b)
        across = w * np.outer(np.kron(m.covariance[:pairs, pairs] * scale, b), rate)
        matrix[:size, size:] += across
        matrix[size:, :size] += across.T
        matrix[size:, size:] += w * m.covariance[pairs, pairs] * np.outer(rate, rate)
        right[size:] += w * m.with_rate[pairs] * rate
    matrix[:size, :size] = block.reshape(size, size)
    norm = np.sqrt(np.diag(matrix))
    matrix /= np.outer(norm, norm)
    matrix[np.diag_indices_from(matrix)] += _RIDGE
    found = -cho_solve(cho_factor(matrix, overwrite_a=True), right / norm) / norm
    coefficients, bends = found[:size].reshape(pairs, degree) * scale[:, None], found[size:]
    at = [np.append(coefficients @ b, bend @ bends) for b, bend in zip(basis, bent, strict=True)]
    return Solution(
        coefficients,
        bends,
        np.array([np.sqrt(m.variance(x)) for m, x in zip(moments, at, strict=True)]),
        np.array([m.constant(x) for m, x in zip(moments, at, strict=True)]),
    )
