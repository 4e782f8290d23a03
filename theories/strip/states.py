"""The leading eigenstates of a strip's transfer matrix, and a bound of all others.

    Z = Tr T^L = κ_0^L Σ_j ρ_j^L,    ρ_j = κ_j / κ_0

Every state with ρ_j > `cut` is kept, called P; the others are called Q. Tr T^p of a few rows is the
trace of (p-row matrix)^W, the same torus seen from its other side, and known exactly: since no
eigenvalue is negative,

    Σ_Q ρ_j^L ≤ cut^{L-p} (Tr T^p / κ_0^p - Σ_P ρ_j^p).

With D the same function of every row, what P and Q add to traces is told apart exactly, too. A
cycle of L factors T D either is Q alone, of which | Tr (T_Q D)^L | ≤ max |D|^L Σ_Q ρ_j^L, or passes
P: with F_m = P D (T_Q D)^{m-1} P, the returns to P after m rows, and G = 1 + F_1κ G + F_2κ G + …,

    Tr (T D)^L - Tr (T_Q D)^L = Σ_m m Tr F_m κ G_{L-m},    G_l = Σ_m F_m κ G_{l-m},

so errors go as ρ^L of the states that were left out, not as ρ.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..gauss import Nodes
from ..quadrature import Potential
from .lanczos import Vectors, leading_eigenvectors
from .rows import RowMatrix, Rows
from .symmetry import Parts, Symmetry

_RESIDUAL = 1e-12
_HIGHEST_CUT = 0.2  # what is left out is to be gone in a few rows
_MOST = 240  # vectors of a Lanczos basis, in each sector
_LARGEST_TRACE = 1000  # states of the p rows whose trace bounds the rest
_BASIS_BYTES, _TYPICAL = 2e9, 50  # of all bases that grow abreast; vectors of one, about
EPSILON = 1e-14
"""Rounding errors of a sum of eigenvalues."""


class State(NamedTuple):
    """An eigenvalue, and the part of the eigenvector in the sector where it lives."""

    value: float
    sector: int
    part: Float[np.ndarray, " orbits"]


class StripStates:
    """The eigenstates of a strip of `length` rows that are above `target`^(1/length), or more.

    rho: κ_j/κ_0, falling. odd: which states change sign under φ → -φ. log_scale: ln κ_0.
    excess: Z in units of κ_0^L. cut: every state with ρ above it is here.
    """

    def __init__(
        self,
        nodes: Nodes,
        potential: Potential,
        stiffness: float,
        width: int,
        length: int,
        even: bool,
        target: float,
    ) -> None:
        self.nodes, self.length, self.even = nodes, length, even
        self._potential, self._stiffness = potential, stiffness
        self.rows = RowMatrix(nodes, potential, stiffness, width, even)
        self.symmetry = Symmetry(self.rows)
        cut = min(target ** (1 / length), _HIGHEST_CUT)
        rng = np.random.default_rng(0)
        starts = self.symmetry.gather(rng.normal(size=self.rows.states))
        abreast = max(1, int(_BASIS_BYTES / (8 * _TYPICAL * self.symmetry.orbits)))
        found, scale = [], 0.0
        for first in range(0, len(starts), abreast):
            sectors = np.arange(first, min(first + abreast, len(starts)))
            bases, scale, cut = leading_eigenvectors(
                lambda parts, sectors=sectors: self._apply_some(parts, sectors),
                starts[sectors],
                cut,
                scale,
                _MOST,
                _RESIDUAL,
            )
            for sector, basis in zip(sectors.tolist(), bases, strict=True):
                values, vectors = basis.above(cut * scale)
                found += [
                    State(float(value), sector, part)
                    for value, part in zip(values, vectors, strict=True)
                ]
        self._found = sorted(
            (state for state in found if state.value > cut * scale), key=lambda state: -state.value
        )
        self.cut = cut
        self.log_scale = float(np.log(scale)) + self.rows.log_scale
        self.rho = np.array([state.value for state in self._found]) / scale
        self.odd = np.array([self.symmetry.odd(state.sector) for state in self._found])
        self.excess = float(np.sum(self.rho**length))
        self.weights = self.rho**length / self.excess

    @property
    def log_z(self) -> float:
        """log Z, with the measure Π dφ; too small by `rest` at most, but for the nodes."""
        return float(self.length * self.log_scale + np.log(self.excess))

    @cached_property
    def rest(self) -> float:
        """A bound of what Q adds to Z, as a part of Z."""
        n, width = len(self.nodes.x), self.rows.width
        power = min(self.length, 3 if n**3 <= _LARGEST_TRACE else 2)
        across = RowMatrix(self.nodes, self._potential, self._stiffness, power, self.even)
        values = np.linalg.eigvalsh(across.matrix())
        per_row = np.log(values[-1]) + across.log_scale
        log_trace = width * per_row + np.log(np.sum((values.clip(0) / values[-1]) ** width))
        trace = float(np.exp(log_trace - power * self.log_scale))
        missing = max(trace - float(np.sum(self.rho**power)), EPSILON * trace)
        return self.cut ** (self.length - power) * missing / self.excess

    def state(self, j: int) -> Rows:
        """ψ_j, of norm 1."""
        return self.symmetry.spread_one(self._found[j].sector, self._found[j].part)

    @cached_property
    def density(self) -> Rows:
        """The probabilities of all states of a row."""
        total = np.zeros(self.symmetry.orbits)
        for weight, state in zip(self.weights, self._found, strict=True):
            total += weight * state.part**2
        return self.symmetry.spread_one(0, total / np.sqrt(self.symmetry.size))

    @cached_property
    def occupation(self) -> Float[np.ndarray, " n"]:
        """The probabilities of the nodes, at one site."""
        density, sites = self.density.reshape(self.rows.shape), range(self.rows.width)
        found = [density.sum(axis=tuple(i for i in sites if i != site)) for site in sites]
        return np.mean(found, axis=0)

    def leading(self, tolerance: float) -> tuple[int, float]:
        """(P, error): how many states leave out no more than `tolerance` of Z, and what they do."""
        left_out = self.rest + np.append(np.cumsum(self.weights[::-1])[::-1], 0.0)
        fits = np.flatnonzero(left_out <= tolerance)
        count = int(fits[0]) if len(fits) else len(self.rho)
        # States that belong together by symmetry stay together.
        while 0 < count < len(self.rho) and self._degenerate(count, count - 1):
            count += 1
        count = max(count, 1)
        return count, float(left_out[count])

    def _degenerate(self, j: int, l: int) -> bool:
        return bool(abs(self.rho[j] - self.rho[l]) < 1e-7 * self.rho[l])

    def members(self, sectors: Sequence[int], count: int) -> Int[np.ndarray, " P"]:
        """Which of the first `count` states are in one of `sectors`."""
        return np.flatnonzero([state.sector in sectors for state in self._found[:count]])

    def parts(self, members: Int[np.ndarray, " P"]) -> Float[np.ndarray, "P orbits"]:
        """The only part of each of these states that is not 0."""
        return np.array([self._found[j].part for j in members.tolist()])

    def sector(self, j: int) -> int:
        """That state j is in."""
        return self._found[j].sector

    def apply(self, v: Rows) -> Rows:
        """T v in units of κ_0."""
        applied = self.rows.apply(v)
        applied /= self._found[0].value
        return applied

    def apply_parts(self, parts: Parts) -> Parts:
        """The same, by parts."""
        return self.symmetry.gather(self.apply(self.symmetry.spread(parts)))

    def _apply_some(self, parts: Vectors, sectors: Int[np.ndarray, " some"]) -> Vectors:
        """T of functions in some of the sectors alone, not in units of κ_0."""
        all_parts = np.zeros((len(self.symmetry.signs), self.symmetry.orbits))
        all_parts[sectors] = parts
        return self.symmetry.gather(self.rows.apply(self.symmetry.spread(all_parts)))[sectors]
