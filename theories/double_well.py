"""The quantum double well as a Euclidean path integral, periodic in time T = N dτ, ħ = 1.

    S(x) = dτ Σ_i [ (M/2) ((x_{i+1} - x_i)/dτ)² + (λ/4) x_i⁴ - (μ/2) x_i² + h x_i ]

M is `mass`, μ `mu`, λ `lam`, h `tilt` and T `period`. The benchmark of Máté & Fleuret
(arXiv:2301.07388) is T = 4, λ = 1, h = 0, M = μ, N = 16. As dτ → 0, with the measure
(M/2πdτ)^{1/2} dx a site, Z → Tr e^{-TH}, H = p²/2M + V(x): see `theories.hamiltonian`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

from .coupling import Coupling
from .errors import LatticeFlowsError
from .lattice_theory import LatticeTheory


class DoubleWellCouplings(NamedTuple):
    """mass: M > 0; mu: the curvature μ at the origin; lam: λ > 0; tilt: h; period: T > 0."""

    mass: Annotated[float, Coupling("M", "mass M", positive=True)] = 1.5
    mu: Annotated[float, Coupling(r"\mu", "μ, of the potential -μx²/2")] = 1.5
    lam: Annotated[float, Coupling(r"\lambda", "λ, of the potential λx⁴/4", positive=True)] = 1.0
    tilt: Annotated[float, Coupling("h", "h, of the potential hx", odd=True)] = 0.0
    period: Annotated[float, Coupling("T", "Euclidean time T", positive=True)] = 4.0


@dataclass(frozen=True)
class DoubleWell(LatticeTheory):
    """The double-well path integral; the formula is at the head of this module.

    Raises LatticeFlowsError for a shape with more than one axis: time is the only one.
    """

    name: ClassVar[str] = "double-well"
    Couplings: ClassVar[Any] = DoubleWellCouplings
    title: ClassVar[str] = "double well"
    together: ClassVar[Mapping[str, tuple[str, ...]]] = {"m": ("mass", "mu")}
    references: ClassVar[str] = "Mate & Fleuret, arXiv:2301.07388"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shape) != 1:
            raise LatticeFlowsError(
                f"double-well is a path in time: give one number of sites, not `shape={self.shape}`"
            )

    def time_step(self, couplings: DoubleWellCouplings) -> Any:
        """dτ = T/N."""
        return couplings.period / self.shape[0]

    def stiffness(self, couplings: DoubleWellCouplings) -> Any:
        return couplings.mass / (2 * self.time_step(couplings))

    def continuum_potential(self, x: Any, couplings: DoubleWellCouplings) -> Any:
        """V(x) = (λ/4) x⁴ - (μ/2) x² + h x, elementwise."""
        square = x * x
        even = couplings.lam / 4 * (square * square) - couplings.mu / 2 * square
        return even + couplings.tilt * x

    def potential(self, x: Any, couplings: DoubleWellCouplings) -> Any:
        return self.time_step(couplings) * self.continuum_potential(x, couplings)

    def quadratic(self, couplings: DoubleWellCouplings) -> Any:
        return -self.time_step(couplings) * couplings.mu / 2

    def leading(self, couplings: DoubleWellCouplings) -> tuple[int, Any]:
        return 4, self.time_step(couplings) * couplings.lam / 4
