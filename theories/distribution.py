"""The distribution of a bounded variable, here of the magnetization M, from its Fourier series.

Where |M| ≤ B, P(M) = Σ_k e^{-ikM} ⟨e^{ikM}⟩ / 2B over k = 0, ±π/B, ±2π/B, …, and an average ⟨f(M)⟩
is such a sum of ⟨e^{ikM}⟩ times ∫ f(M) e^{-ikM} dM over (-B, B).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Num

from .quadrature import Grid

_LIKE = 10.0


class Distribution(NamedTuple):
    """Of M. bound: B. characteristic: ⟨e^{ikM}⟩ at k = 0, π/B, 2π/B, …; left_out: that part of Z.

    States that are left out have other distributions of M, but with averages like those of the
    others: an average f errs by a few times left_out · ⟨|f|⟩.
    """

    bound: float
    characteristic: Complex[np.ndarray, " k"]
    left_out: float

    def density(self, m: Grid) -> tuple[Grid, Grid]:
        """P(M) at each of `m`, and its error; 0 beyond B."""
        k = np.pi / self.bound * np.arange(len(self.characteristic))
        series = np.exp(-1j * np.outer(m, k)) @ self.characteristic
        # Negative k add the complex conjugate; k = 0 counts once.
        value = np.where(np.abs(m) <= self.bound, (2 * np.real(series) - 1) / (2 * self.bound), 0.0)
        rest = 2 * self.left_out * len(k) / self.bound  # of every term of the series
        return value, np.full(len(m), rest)

    def positive(self) -> tuple[float, float]:
        """P(M > 0), and its error."""
        k, signs = self._modes()
        return self._told(self._mean(np.append(self.bound, 1j * (signs - 1) / k)))

    def absolute(self) -> tuple[float, float]:
        """⟨|M|⟩, and its error."""
        k, signs = self._modes()
        return self._told(self._mean(np.append(self.bound**2, 2 * (signs - 1) / k**2)))

    def moment(self, power: int) -> tuple[float, float]:
        """⟨M^power⟩ for powers 1 … 4, and its error."""
        b = self.bound
        k, signs = self._modes()
        whole = (1 - (-1) ** (power + 1)) * b ** (power + 1) / (power + 1)
        rest = {
            1: 2j * b * signs / k,
            2: 4 * b * signs / k**2,
            3: 2j * b * signs * (b**2 / k - 6 / k**3),
            4: 8 * b * signs * (b**2 / k**2 - 6 / k**4),
        }[power]
        value = self._mean(np.append(whole, rest))
        if power % 2:
            return value, _LIKE * self.left_out * self.moment(power + 1)[0] ** (power / (power + 1))
        return self._told(value)

    def _told(self, value: float) -> tuple[float, float]:
        return value, _LIKE * self.left_out * abs(value)

    def _mean(self, transform: Num[np.ndarray, " k"]) -> float:
        """⟨f(M)⟩ from the integrals ∫ f(M) e^{-ikM} dM over (-B, B)."""
        terms = np.real(self.characteristic * transform)
        return float((2 * np.sum(terms) - terms[0]) / (2 * self.bound))

    def _modes(self) -> tuple[Grid, Grid]:
        """k = π/B, 2π/B, … and e^{ikB} there."""
        j = np.arange(1, len(self.characteristic))
        return np.pi / self.bound * j, (-1.0) ** j
