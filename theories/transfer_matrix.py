"""Exact answers for every chain (d = 1) from its transfer matrix.

    K(x, y) = exp[-a(x-y)² - ½v(x) - ½v(y)],    Z = Tr K^N = Σ_j κ_j^N

for the action S = a Σ (φ_i - φ_{i+1})² + Σ v(φ_i). Each site is put on Gauss nodes, or, of a short
chain and where they would be too many, on a uniform grid (chain_nodes.py); on more of them until
nothing changes any more, so the answers are good to about 1e-12. All of them are functions of the
eigenvalues κ_j and eigenvectors ψ_j (eigenstates.py): eigenvalues below the rounding error of the
largest one are dropped. What is connected is summed from positive terms, with
x_jk = Σ_x ψ_j(x) (x - ⟨φ⟩) ψ_k(x),

    C(r) = ⟨φ_0 φ_r⟩ - ⟨φ⟩² = Σ_jk κ_j^r κ_k^{N-r} x_jk² / Z,

and so is C(r-1) + C(r+1) - 2C(r), with (κ_j - κ_k)² in its terms. Where an answer is smaller than
the rounding error of what it is the difference of, it is not known: NaN, with a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from .bridge import sample_chain
from .chain_magnetization import ChainMagnetization
from .chain_nodes import Rule, gauss_rules, uniform_rule, uniform_rules
from .distribution import Distribution
from .eigenstates import EPSILON, eigenstates
from .errors import LatticeFlowsError
from .quadrature import Grid, kernel, resolution, support, uniform_grid
from .shapes import Point

# An answer is known if it is this many times its rounding error: to two digits or more.
_KNOWN = 100
SHORT = 12  # of fewer sites e^{ikφ/N} is too fast for few nodes
MAX_LENGTH = 10**6  # the correlator takes microseconds for each distance


@runtime_checkable
class Chain(Protocol):
    """What the transfer matrix asks of a theory; every `LatticeTheory` has it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def sites(self) -> int: ...
    def validate(self, couplings: Any) -> None: ...
    @property
    def is_free(self) -> bool: ...
    def is_symmetric(self, couplings: Any) -> bool: ...
    def stiffness(self, couplings: Any) -> Any: ...
    def potential(self, x: Any, couplings: Any) -> Any: ...


class TransferMatrix:
    """The exact solution of a one-dimensional theory at given couplings; all in float64.

    `spacing` fixes a uniform grid instead of finding nodes that are enough. After construction,
    `change_on_refining` holds the largest change (relative) that the last nodes made.

    Raises LatticeFlowsError if the lattice is not a chain, for invalid couplings, and if the
    couplings need a larger grid than is sensible.
    """

    def __init__(self, theory: Chain, couplings: Point, *, spacing: float | None = None) -> None:
        if len(theory.shape) != 1:
            raise LatticeFlowsError(
                f"exact answers exist for chains only, not for shape {theory.shape}; "
                "give a single number of sites"
            )
        if theory.sites > MAX_LENGTH:
            raise LatticeFlowsError(
                f"exact answers are for chains of {MAX_LENGTH} sites at most, not {theory.sites}"
            )
        theory.validate(couplings)
        if any(np.ndim(value) for value in couplings):
            raise LatticeFlowsError("exact answers are for one set of couplings, not for arrays")
        self.theory = theory
        self.couplings = couplings._make(map(float, couplings))
        self.length = theory.sites
        self._even = theory.is_symmetric(self.couplings)
        self._stiffness = float(theory.stiffness(self.couplings))
        self._low, self._high = support(self._raw_potential, self._stiffness, self.length)
        nodes = np.linspace(self._low, self._high, 4001)
        self._floor = float(np.min(self._raw_potential(nodes)))
        if spacing is not None:
            self._spacing = spacing
            self._solve(uniform_rule(self._low, self._high, spacing, self._even))
            self.change_on_refining = float("nan")
            return
        site = (self._potential, self._stiffness, self._low, self._high, self._even)
        if self.length < SHORT or not self._refine(gauss_rules(*site)):
            self._refine(uniform_rules(*site))

    # -- the spectrum ------------------------------------------------------------------------

    def _raw_potential(self, x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        return self.theory.potential(x, self.couplings)

    def _potential(self, x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """The potential above its minimum, which keeps every exponential in range."""
        return self._raw_potential(x) - self._floor

    def _refine(self, rules: Iterator[Rule]) -> bool:
        """Solve on finer and finer nodes until nothing changes any more; False if they end."""
        before = np.full(6, np.nan)
        for rule in rules:
            self._solve(rule)
            self.change_on_refining = self._change(before)
            if self.change_on_refining < self._tolerance:
                return True
            before = self._fingerprint()
        return False

    def _solve(self, rule: Rule) -> None:
        self._x, self._node_weights = rule
        states = eigenstates(self._potential, self._stiffness, *rule, self._even)
        self._psi, self._log_scale = states.psi, states.log_scale
        self._deficits = states.deficits
        self._kappa = 1 - states.deficits
        powers = self._kappa**self.length
        self._excess = float(np.sum(powers))  # Z in units of κ_0^N
        self._weights = powers / self._excess
        self._occupation = self._psi**2 @ self._weights
        self._mean = 0.0 if self._even else float(self._occupation @ self._x)
        self._position = self._psi.T @ ((self._x - self._mean)[:, None] * self._psi)

    def _change(self, fingerprint: np.ndarray) -> float:
        return float(np.max(np.abs(self._fingerprint() - fingerprint)))

    @property
    def _tolerance(self) -> float:
        """Rounding errors of κ^N grow with N."""
        return 1e-12 * max(10, self.length)

    @cached_property
    def _spacing(self) -> float:
        """Of a uniform grid that has the same answers."""
        spacing = resolution(self._potential, self._stiffness, self._low, self._high)
        while True:
            grid = TransferMatrix(self.theory, self.couplings, spacing=spacing)
            if self._change(grid._fingerprint()) < self._tolerance:
                return spacing
            spacing /= 2

    def _fingerprint(self) -> np.ndarray:
        """A few answers, scaled so that their changes can be compared with rounding errors."""
        terms = self.length * (abs(self._log_scale) + abs(self._floor))
        second = self.moment(2)
        # Of an even potential the gap is known however small it is.
        gap = max(self._deficits[1], 1e-300) if self._even and len(self._deficits) > 1 else 1.0
        return np.array(
            [
                self.log_z / max(1.0, terms),
                self.moment(1) / np.sqrt(second),
                np.log(second),
                np.log(self.moment(4)),
                np.log(self.moment(8)),
                np.log(gap),
            ]
        )

    @property
    def log_z(self) -> float:
        """log Z, with the measure Π dφ_i."""
        per_site = self._log_scale - self._floor
        return float(self.length * per_site + np.log(self._excess))

    @property
    def energy_gap(self) -> float:
        """ln κ_0/κ_1 in lattice units; NaN where it is smaller than rounding errors.

        For the double well E_1 - E_0 is this divided by dτ. Of an even potential every gap above
        1e-300 is known, of others those above 1e-13 or so.
        """
        return self._known(float(-np.log1p(-self._deficits[1])), self._gap_error)

    @property
    def correlation_length(self) -> float:
        """1 / ln(κ_0/κ_1), in sites: the decay length of ⟨φ_0 φ_r⟩ on an infinite chain.

        NaN where the gap is not known.
        """
        return 1 / self.energy_gap

    @property
    def _gap_error(self) -> float:
        """Of the gap: what K does not know of v, and what is lost in a plain difference."""
        return 1e-302 if self._even else 8 * EPSILON * (1 + abs(self._floor))

    @property
    def _error(self) -> float:
        """Of averages of order 1."""
        return 1e-14 * max(10, self.length)

    @staticmethod
    def _known(value: float, error: float) -> float:
        return value if abs(value) >= _KNOWN * error else float("nan")

    # -- one site and two --------------------------------------------------------------------

    def marginal(self) -> tuple[Grid, Grid]:
        """The density of one site's field: (x, p(x)) on a uniform grid."""
        x = uniform_grid(self._low, self._high, self._spacing)
        here, there = self._potential(x), self._potential(self._x) - np.log(self._node_weights)
        squares = self._stiffness * np.subtract.outer(x, self._x) ** 2
        # ψ_j = K ψ_j / κ_j, which is known between the nodes, too
        matrix = np.exp(-squares - here[:, None] / 2 - there / 2 - self._log_scale)
        return x, (matrix @ self._psi) ** 2 @ self._kappa ** (self.length - 2) / self._excess

    def moment(self, power: int) -> float:
        """⟨φ^power⟩ of one site."""
        return float(np.sum(self._occupation * self._x**power))

    def connected_correlator(self) -> Float[np.ndarray, " N"]:
        """C(r) = ⟨φ_0 φ_r⟩ - ⟨φ⟩² for r = 0 … N-1."""
        return self._connected.copy()

    @cached_property
    def _connected(self) -> Float[np.ndarray, " N"]:
        squares = self._position**2
        values = np.empty(self.length)
        values[0] = self._occupation @ (self._x - self._mean) ** 2
        for r in range(1, self.length // 2 + 1):
            back = self._kappa ** (self.length - r)
            values[r] = values[-r] = self._kappa**r @ squares @ back / self._excess
        return values

    def correlator(self) -> Float[np.ndarray, " N"]:
        """G(r) = ⟨φ_0 φ_r⟩ (disconnected) for r = 0 … N-1."""
        return self.connected_correlator() + self._mean**2

    def correlator_gaps(self) -> Float[np.ndarray, " r"]:
        """Δ(r) = arcosh((C(r-1) + C(r+1)) / 2C(r)) for r = 1 … N/2.

        NaN where C(r) is lost in the rounding errors of the x_jk, squared.
        """
        differences = np.subtract.outer(self._deficits, self._deficits)
        terms = (differences * self._position) ** 2
        bends = [
            self._kappa ** (r - 1) @ terms @ self._kappa ** (self.length - r - 1)
            for r in range(1, self.length // 2 + 1)
        ]
        connected = self.connected_correlator()
        there = connected[1 : len(bends) + 1]
        lost = there < _KNOWN * (8 * EPSILON) ** 2 * connected[0]
        ratios = np.array(bends) / self._excess / np.where(lost, np.nan, there)
        return 2 * np.arcsinh(np.sqrt(ratios) / 2)

    @property
    def action_density(self) -> float:
        """⟨S⟩/N."""
        bond = 2 * (self.moment(2) - self.correlator()[1])
        site = np.sum(self._occupation * self._raw_potential(self._x))
        return float(self._stiffness * bond + site)

    # -- the magnetization M = Σφ/N ----------------------------------------------------------

    @cached_property
    def _magnetization(self) -> ChainMagnetization:
        half = np.sqrt(self._kappa) * self._psi
        bound = max(-self._low, self._high)
        return ChainMagnetization(self._x, half, self.length, self._excess, bound)

    @cached_property
    def _distribution(self) -> Distribution:
        try:
            return self._magnetization.distribution(self._error)
        except LatticeFlowsError:
            grid = TransferMatrix(self.theory, self.couplings, spacing=self._spacing / 2)
            return grid._magnetization.distribution(self._error)

    def magnetization_distribution(self, points: int = 801) -> tuple[Grid, Grid]:
        """(M, P(M)): the probability density of M on a uniform grid of `points` values.

        It ends where M is never found any more.
        """
        bound = self._distribution.bound
        m = np.linspace(-bound, bound, points)
        return m, self._distribution.density(m)[0]

    @property
    def magnetization(self) -> float:
        """⟨M⟩."""
        return self._mean

    @property
    def abs_magnetization(self) -> float:
        """⟨|M|⟩."""
        return self._distribution.absolute()[0]

    @property
    def positive_mode_weight(self) -> float:
        """P(M > 0)."""
        return 0.5 if self._even else float(np.clip(self._distribution.positive()[0], 0.0, 1.0))

    @property
    def magnetization_squared(self) -> float:
        """⟨M²⟩."""
        return float(np.mean(self.correlator()))

    @property
    def susceptibility(self) -> float:
        """N (⟨M²⟩ - ⟨M⟩²)."""
        return float(np.sum(self.connected_correlator()))

    @property
    def susceptibility_abs(self) -> float:
        """N (⟨M²⟩ - ⟨|M|⟩²)."""
        return self.length * (self.magnetization_squared - self.abs_magnetization**2)

    @property
    def binder_cumulant(self) -> float:
        """1 - ⟨M⁴⟩ / 3⟨M²⟩²; 0 of a Gaussian about 0."""
        if self._even and self.theory.is_free:
            return 0.0
        fourth = self._magnetization.moments()[4]
        return float(1 - fourth / (3 * self.magnetization_squared**2))

    # -- orthants ----------------------------------------------------------------------------

    @property
    def probability_all_positive(self) -> float:
        """The probability that every φ_i > 0."""
        return self._probability_within(max(self._low, 0.0), self._high)

    @property
    def probability_all_negative(self) -> float:
        """The probability that every φ_i < 0."""
        return self._probability_within(self._low, min(self._high, 0.0))

    def _probability_within(self, low: float, high: float) -> float:
        """Tr (K restricted to [low, high])^N / Z; Gauss–Legendre, for the edge is sharp."""
        if high <= low:
            return 0.0
        fine = resolution(self._potential, self._stiffness, low, high) / 4
        count = int((high - low) / fine) + 20
        nodes, weights = np.polynomial.legendre.leggauss(count)
        x, weights = low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2
        matrix = kernel(self._potential, self._stiffness, x, weights) / np.exp(self._log_scale)
        # A sum of positive terms: known to many digits, however small.
        return float(np.trace(np.linalg.matrix_power(matrix, self.length)) / self._excess)

    # -- all of it ---------------------------------------------------------------------------

    def observables(self) -> dict[str, Any]:
        """Every exact observable by its usual name; `correlator` is an array of length N.

        One that is lost in rounding errors is NaN, and NAME_bound says what it cannot exceed (of
        the correlation length, what it exceeds).
        """
        gap = -np.log1p(-self._deficits[1])
        found = {
            "magnetization": self.magnetization,
            "abs_magnetization": self.abs_magnetization,
            "susceptibility": self.susceptibility,
            "susceptibility_abs": self.susceptibility_abs,
            "binder_cumulant": self.binder_cumulant,
            "phi2": self.moment(2),
            "phi4": self.moment(4),
            "action_density": self.action_density,
            "correlator": self.correlator(),
            "correlation_length": self.correlation_length,
            "energy_gap": self.energy_gap,
            "positive_mode_weight": self.positive_mode_weight,
            "log_z": self.log_z,
        }
        squared = self.magnetization_squared
        errors = {
            "magnetization": 0.0 if self._even else self._error * np.sqrt(found["phi2"]),
            "susceptibility_abs": self._error * self.length * squared,
            "binder_cumulant": 0.0 if found["binder_cumulant"] == 0 else self._error,
            "positive_mode_weight": self._error,
        }
        for name, error in errors.items():
            value = found[name]
            found[name] = self._known(value, error)
            if np.isnan(found[name]):
                found[f"{name}_bound"] = float(abs(value) + error)
        if np.isnan(found["energy_gap"]):
            bound = float(max(gap, 0.0) + self._gap_error)
            found |= {"energy_gap_bound": bound, "correlation_length_bound": 1 / bound}
        return found

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "n N"]:
        """n independent configurations from p(φ), exactly; float64."""
        x = uniform_grid(self._low, self._high, self._spacing)
        return sample_chain(rng, n, self.length, self._potential, self._stiffness, x)
