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

from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from ..gauss import Nodes
from ..quadrature import Potential
from .lanczos import leading_eigenvectors
from .rows import RowMatrix, Rows, Sector, sectors

_RESIDUAL = 1e-12
_HIGHEST_CUT = 0.2  # what is left out is to be gone in a few rows
_MOST = 240  # vectors of a Lanczos basis, in each sector
_LARGEST_TRACE = 1000  # states of the p rows whose trace bounds the rest
EPSILON = 1e-14
"""Rounding errors of a sum of eigenvalues."""


class StripStates:
    """The eigenstates of a strip of `length` rows that are above `target`^(1/length), or more.

    rho: κ_j/κ_0, falling. odd: which states change sign under φ → -φ. log_scale: ln κ_0.
    excess: Z in units of κ_0^L. rest: a bound of what Q adds to it, as a part of Z.
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
        self.rows = RowMatrix(nodes, potential, stiffness, width, even)
        cut = min(target ** (1 / length), _HIGHEST_CUT)
        rng = np.random.default_rng(0)
        scale = None
        found: list[tuple[float, Float[np.ndarray, " orbits"], Sector]] = []
        self.sectors = sectors(self.rows)
        for sector in self.sectors:
            start = sector.gather(sector.spread(rng.normal(size=len(sector.representatives))))
            values, vectors, above = leading_eigenvectors(
                lambda u, sector=sector: sector.gather(self.rows.apply(sector.spread(u))),
                start,
                cut,
                scale,
                _MOST,
                _RESIDUAL,
            )
            scale = float(values[0]) if scale is None else scale
            cut = max(cut, above)
            found += [(value, u, sector) for value, u in zip(values, vectors, strict=True)]
        assert scale is not None
        found = [entry for entry in found if entry[0] > cut * scale]
        found.sort(key=lambda entry: -entry[0])
        self._found = found
        self.cut = cut
        self.log_scale = float(np.log(scale)) + self.rows.log_scale
        self.rho = np.array([value for value, _, _ in found]) / scale
        self.odd = np.array([sector.odd for _, _, sector in found])
        self.excess = float(np.sum(self.rho**length))
        self.weights = self.rho**length / self.excess
        power = min(length, 3 if len(nodes.x) ** 3 <= _LARGEST_TRACE else 2)
        across = RowMatrix(nodes, potential, stiffness, power, even)
        values = np.linalg.eigvalsh(across.matrix())
        per_row = np.log(values[-1]) + across.log_scale
        log_trace = width * per_row + np.log(np.sum((values.clip(0) / values[-1]) ** width))
        trace = float(np.exp(log_trace - power * self.log_scale))
        missing = max(trace - float(np.sum(self.rho**power)), EPSILON * trace)
        self.rest = cut ** (length - power) * missing / self.excess

    @property
    def log_z(self) -> float:
        """log Z, with the measure Π dφ; too small by `rest` at most, but for the nodes."""
        return float(self.length * self.log_scale + np.log(self.excess))

    def state(self, j: int) -> Rows:
        """ψ_j, of norm 1."""
        _, u, sector = self._found[j]
        return sector.spread(u)

    @cached_property
    def occupation(self) -> Float[np.ndarray, " n"]:
        """The probabilities of the nodes, at one site."""
        found = np.zeros(len(self.nodes.x))
        for j, weight in enumerate(self.weights):
            square = (self.state(j) ** 2).reshape(self.rows.shape)
            for site in range(self.rows.width):
                others = tuple(i for i in range(self.rows.width) if i != site)
                found += weight * square.sum(axis=others)
        return found / self.rows.width

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

    def components(self, sector: Sector, count: int) -> Float[np.ndarray, "P orbits"]:
        """Of those of the first `count` states that are in `sector`, in order."""
        found = [u for _, u, its in self._found[:count] if its is sector]
        return np.array(found).reshape(-1, len(sector.root))

    def members(self, sector: Sector, count: int) -> Int[np.ndarray, " P"]:
        """The numbers of these states."""
        return np.flatnonzero([its is sector for _, _, its in self._found[:count]])

    def apply(self, v: Rows) -> Rows:
        """T v in units of κ_0."""
        return self.rows.apply(v) / self._found[0][0]
