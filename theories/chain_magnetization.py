"""The magnetization M = Σφ/N of a chain, by traces over the eigenstates of its transfer matrix.

    ⟨e^{ikM}⟩ = Tr (K D_k)^N / Tr K^N,    D_k = e^{ikφ/N} at every site,

and the moments of M are its derivatives at k = 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from .distribution import Distribution
from .errors import LatticeFlowsError
from .quadrature import Grid

_BLOCK = 32


class ChainMagnetization(NamedTuple):
    """x: the nodes of a site. half: √κ_j ψ_j, κ_j falling. length: N. z: Tr K^N.

    bound: B, |M| < B always.
    """

    x: Grid
    half: Float[np.ndarray, "points states"]
    length: int
    z: float
    bound: float

    def distribution(self, error: float) -> Distribution:
        """By ⟨e^{ikM}⟩, to `error`, at k = 0, π/B, 2π/B, … until it has vanished.

        Raises LatticeFlowsError where e^{ikφ/N} is too fast for the nodes before that: of a few
        sites on a few nodes.
        """
        step = np.pi / self.bound
        # Few states are ever visited: a third more of them until the answer stands still.
        probe = step * np.array([0.0, 8.0, 16.0, 32.0, 64.0])
        rank, change = 9, np.inf
        values = self._characteristic(probe, rank)
        while change > 1e-13 and rank < self.half.shape[1]:
            rank += rank // 3
            before, values = values, self._characteristic(probe, rank)
            change = np.max(np.abs(values - before))
        blocks: list[np.ndarray] = []
        while not blocks or np.max(np.abs(blocks[-1])) > 1e-14:
            modes = _BLOCK * len(blocks) + np.arange(_BLOCK)
            if modes[0] > self.length * len(self.x):
                raise LatticeFlowsError("the nodes are too few for the magnetization")
            k = step * modes
            blocks.append(self._characteristic(k, rank))
        return Distribution(self.bound, np.concatenate(blocks), error)

    def _characteristic(self, k: Float[np.ndarray, " k"], rank: int) -> Complex[np.ndarray, " k"]:
        """⟨e^{ikM}⟩ among the `rank` leading eigenstates."""
        half = self.half[:, :rank]
        phases = np.exp(1j * np.outer(k, self.x) / self.length)
        matrices = half.T @ (phases[:, :, None] * half)
        powers = np.linalg.matrix_power(matrices, self.length)
        return np.trace(powers, axis1=1, axis2=2) / self.z

    def moments(self) -> Float[np.ndarray, " 5"]:
        """⟨M^p⟩ for p = 0 … 4: the Taylor coefficients of Tr (K e^{sφ/N})^N in s, times p!."""
        x = (self.x / self.length)[:, None]
        factorials = np.array([1.0, 1.0, 2.0, 6.0, 24.0])
        # A power series in s, its coefficients matrices, raised to the N by repeated squaring.
        square = [self.half.T @ (x**p / factorials[p] * self.half) for p in range(5)]
        power, left = None, self.length
        while left:
            if left % 2:
                power = square if power is None else _multiply_series(power, square)
            square, left = _multiply_series(square, square), left // 2
        traces = np.array([np.trace(coefficient) for coefficient in power or square])
        return factorials * traces / self.z


def _multiply_series(a: list[np.ndarray], b: list[np.ndarray]) -> list[np.ndarray]:
    """The product of two power series, to the order they have in common."""
    return [np.sum([a[q] @ b[p - q] for q in range(p + 1)], axis=0) for p in range(len(a))]
