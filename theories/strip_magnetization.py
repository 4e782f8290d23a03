"""The distribution of the magnetization M = Σφ / V of a strip.

    ⟨e^{ikM}⟩ = Tr (T D_k)^L / Tr T^L,    D_k = Π_i e^{ikφ_i/V} of a row,

by the returns F_m to the states that are kept (strip_states.py), whose error is Σ_Q ρ_j^L / Z. On
the nodes |M| ≤ B, the largest of them, so k = 0, π/B, 2π/B, … give a Fourier series of P(M) until
⟨e^{ikM}⟩ has vanished, and with it every average: ⟨|M|⟩, P(M > 0), ⟨M^p⟩.

Of an even potential all is real: with i in front of odd functions of a row, D_k is
cos(kΣφ/V) + sin(kΣφ/V) R, R the reflection φ → -φ, and (f, g) is Σ f R g.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float, Num

from .quadrature import Grid
from .strip_states import StripStates

_BLOCK = 4
_MOST = 400
_NOTHING = 1e-17


class Distribution(NamedTuple):
    """Of M. bound: B. characteristic: ⟨e^{ikM}⟩ at k = 0, π/B, 2π/B, …; error: of each."""

    bound: float
    characteristic: Complex[np.ndarray, " k"]
    error: float

    def density(self, m: Grid) -> Grid:
        """P(M) at each of `m`, |m| ≤ B."""
        k = np.pi / self.bound * np.arange(len(self.characteristic))
        series = np.exp(-1j * np.outer(m, k)) @ self.characteristic
        # Negative k add the complex conjugate; k = 0 counts once.
        return (2 * np.real(series) - 1) / (2 * self.bound)

    def mean(self, transform: Num[np.ndarray, " k"]) -> float:
        """⟨f(M)⟩ from the integrals ∫ f(M) e^{-ikM} dM over (-B, B)."""
        terms = np.real(self.characteristic * transform)
        return float((2 * np.sum(terms) - terms[0]) / (2 * self.bound))

    @property
    def positive(self) -> float:
        """P(M > 0)."""
        k, signs = self._modes()
        return self.mean(np.append(self.bound, 1j * (signs - 1) / k))

    def moment(self, power: int) -> float:
        """⟨M^power⟩ for powers 1 … 4."""
        b = self.bound
        k, signs = self._modes()
        whole = (1 - (-1) ** (power + 1)) * b ** (power + 1) / (power + 1)
        rest = {
            1: 2j * b * signs / k,
            2: 4 * b * signs / k**2,
            3: 2j * b * signs * (b**2 / k - 6 / k**3),
            4: 8 * b * signs * (b**2 / k**2 - 6 / k**4),
        }[power]
        return self.mean(np.append(whole, rest))

    @property
    def absolute(self) -> float:
        """⟨|M|⟩."""
        k, signs = self._modes()
        return self.mean(np.append(self.bound**2, 2 * (signs - 1) / k**2))

    def _modes(self) -> tuple[Grid, Grid]:
        """k = π/B, 2π/B, … and e^{ikB} there."""
        j = np.arange(1, len(self.characteristic))
        return np.pi / self.bound * j, (-1.0) ** j


def magnetization_distribution(states: StripStates, tolerance: float) -> Distribution:
    """P(M), each Fourier coefficient with an error below `tolerance` where the states suffice."""
    bound = float(np.max(np.abs(states.rows.x)))
    count, error = states.leading(tolerance)
    error = max(error, 1e-13)
    found: list[complex] = [1.0]
    while len(found) < _MOST and max(np.abs(found[-_BLOCK:])) > error:
        found.append(characteristic(states, len(found) * np.pi / bound, count))
    return Distribution(bound, np.array(found, dtype=np.complex128), error)


def characteristic(states: StripStates, k: float, count: int) -> complex:
    """⟨e^{ikM}⟩ by the returns to the `count` leading states."""
    rows, length = states.rows, states.length
    angle = (k / (rows.width * length)) * rows.total()
    cosine, sine = np.cos(angle), np.sin(angle)
    psi, rho = states.psi[:count], states.rho[:count]
    even = states.even
    kappa = rho * np.where(states.odd[:count] & even, -1.0, 1.0)

    def phase(u: Num[np.ndarray, "P states"]) -> Num[np.ndarray, "P states"]:
        return cosine * u + sine * u[:, ::-1] if even else (cosine + 1j * sine) * u

    def step(u: Num[np.ndarray, "P states"]) -> Num[np.ndarray, "P states"]:
        u = np.array([_apply(states, v) for v in u])
        return u - ((u @ psi.T)) @ psi

    # F_{s+t+1} = (u_s, D u_t) with u_s = (T_Q D)^s P
    u, phased = [psi], [phase(psi)]
    returns = [_product(u[0], phased[0], even)]
    while len(returns) < length and np.abs(u[-1]).max() > _NOTHING:
        u.append(step(phased[-1]))
        returns.append(_product(u[-1], phased[-1], even))
        phased.append(phase(u[-1]))
        returns.append(_product(u[-1], phased[-1], even))
    returns = [f * kappa for f in returns[:length]]
    series = [np.eye(count, dtype=returns[0].dtype)]
    for l in range(1, length):
        series.append(sum(f @ series[l - m] for m, f in enumerate(returns[:l], start=1)))
    trace = sum(
        m * np.sum(f * series[length - m].T) for m, f in enumerate(returns, start=1)
    )
    return complex(trace) / states.excess


def _product(
    u: Num[np.ndarray, "P states"], v: Num[np.ndarray, "P states"], even: bool
) -> Num[np.ndarray, "P P"]:
    return u @ v[:, ::-1].T if even else u @ v.T


def _apply(states: StripStates, v: Num[np.ndarray, " states"]) -> Num[np.ndarray, " states"]:
    if not np.iscomplexobj(v):
        return states.apply(v)
    return states.apply(v.real.copy()) + 1j * states.apply(v.imag.copy())
