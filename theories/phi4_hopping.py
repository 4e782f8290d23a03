"""Scalar φ⁴ theory in the hopping form, on a periodic lattice of any dimension d.

    S(φ) = -2κ Σ_{x,μ} φ_x φ_{x+μ} + Σ_x [ (1 - 2λ) φ_x² + λ φ_x⁴ ]
         = κ Σ_{x,μ} (φ_x - φ_{x+μ})² + Σ_x [ (1 - 2λ - 2dκ) φ_x² + λ φ_x⁴ ]

as in Nicoli et al., arXiv:2007.07115, and Wahl et al., arXiv:2410.19492. It is the theory of
phi4.py in other units of the field (`Phi4.couplings_from_hopping`), here with its own couplings, so
that they can be varied, and derivatives taken, by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

from .coupling import Coupling
from .lattice_theory import LatticeTheory


class Phi4HoppingCouplings(NamedTuple):
    """kappa: the hopping parameter κ > 0; lam: the quartic coupling λ > 0."""

    kappa: Annotated[float, Coupling(r"\kappa", "hopping parameter κ", positive=True)] = 0.25
    lam: Annotated[float, Coupling(r"\lambda", "quartic coupling λ", positive=True)] = 0.02


@dataclass(frozen=True)
class Phi4Hopping(LatticeTheory):
    """φ⁴ theory in the hopping form; the formula is at the head of this module."""

    name: ClassVar[str] = "phi4-hopping"
    Couplings: ClassVar[Any] = Phi4HoppingCouplings
    title: ClassVar[str] = r"$\phi^4$ theory"
    references: ClassVar[str] = "Nicoli et al., arXiv:2007.07115"

    def stiffness(self, couplings: Phi4HoppingCouplings) -> Any:
        return couplings.kappa

    def potential(self, x: Any, couplings: Phi4HoppingCouplings) -> Any:
        square = x * x
        return self.quadratic(couplings) * square + couplings.lam * (square * square)

    def quadratic(self, couplings: Phi4HoppingCouplings) -> Any:
        return 1 - 2 * couplings.lam - 2 * len(self.shape) * couplings.kappa

    def leading(self, couplings: Phi4HoppingCouplings) -> tuple[int, Any]:
        return 4, couplings.lam
