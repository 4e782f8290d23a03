"""Scalar φ⁴ theory on a periodic lattice of any dimension; the cycle graph is d = 1.

    S(φ) = Σ_{x,μ} (φ_x - φ_{x+μ})² + Σ_x [ -m φ_x² + λ (φ_x - α)⁴ ]

Máté & Fleuret, arXiv:2301.07388, eq. (19). α shifts the quartic well and breaks φ → -φ; it is a
spurion: S(-φ; -α) = S(φ; α). Left out, it is their 0.01 on the cycle graph, and 0 in more
dimensions: the φ⁴ theory of the rest of the literature is even.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np

from .coupling import Coupling
from .errors import LatticeFlowsError
from .lattice_theory import LatticeTheory, Rescaled


class Phi4Couplings(NamedTuple):
    """m: minus the bare mass squared; lam: the quartic coupling λ > 0; alpha: the shift α.

    The defaults are those of the cycle graph; `Phi4.from_values` knows the dimension.
    """

    m: Annotated[float, Coupling("m", "minus the bare mass squared, of -m φ²")] = 0.5
    lam: Annotated[float, Coupling(r"\lambda", "quartic coupling λ", positive=True)] = 1 / 16
    alpha: Annotated[
        float,
        Coupling(
            r"\alpha",
            "shift α of the quartic well; 0.01 on a chain, 0 in more dimensions",
            odd=True,
        ),
    ] = 0.01


@dataclass(frozen=True)
class Phi4(LatticeTheory):
    """φ⁴ theory; the formula is at the head of this module."""

    name: ClassVar[str] = "phi4"
    Couplings: ClassVar[Any] = Phi4Couplings
    title: ClassVar[str] = r"$\phi^4$ theory"
    references: ClassVar[str] = "Mate & Fleuret, arXiv:2301.07388, eq. (19)"

    def from_values(self, **values) -> Phi4Couplings:
        """Couplings from names and values; α left out is 0.01 on a chain, 0 in more dimensions."""
        return super().from_values(**({} if len(self.shape) == 1 else {"alpha": 0.0}) | values)

    def stiffness(self, couplings: Any) -> Any:
        return 1.0

    def potential(self, x: Any, couplings: Any) -> Any:
        square, shifted = x * x, x - couplings.alpha
        shifted_square = shifted * shifted
        return couplings.lam * (shifted_square * shifted_square) - couplings.m * square

    def quadratic(self, couplings: Any) -> Any:
        return -couplings.m

    def leading(self, couplings: Any) -> tuple[int, Any]:
        return 4, couplings.lam

    @staticmethod
    def couplings_from_mass_squared(mass_squared, lam) -> Phi4Couplings:
        """Couplings of S = Σ (∂φ)² + M² φ² + λ φ⁴ (Gerdes et al., arXiv:2207.00283): m = -M²."""
        return Phi4Couplings(m=-mass_squared, lam=lam, alpha=0.0)

    def couplings_from_hopping(self, kappa: float, lam_h: float) -> Rescaled:
        """The hopping form S = Σ_x (1 - 2λ_h) φ_h² + λ_h φ_h⁴ - 2κ Σ_{x,μ} φ_h(x) φ_h(x+μ).

        Used by Nicoli et al., arXiv:2007.07115, and Wahl et al., arXiv:2410.19492. With
        φ = √κ φ_h it is this theory at m = 2d - (1 - 2λ_h)/κ, λ = λ_h/κ², α = 0, and
        log Z_h = log Z - (V/2) ln κ from the change of variables.
        Raises LatticeFlowsError unless κ > 0 (concrete numbers only).
        """
        if not kappa > 0:
            raise LatticeFlowsError(f"kappa must be greater than 0, got {kappa}")
        couplings = Phi4Couplings(
            m=2 * len(self.shape) - (1 - 2 * lam_h) / kappa, lam=lam_h / kappa**2, alpha=0.0
        )
        return Rescaled(couplings, np.sqrt(kappa), -self.sites / 2 * np.log(kappa))

    def hopping_from_couplings(self, couplings: Any) -> tuple[float, float]:
        """(κ, λ_h) of the hopping form, the inverse of `couplings_from_hopping`.

        κ is the positive root of 2λκ² + (2d - m)κ - 1 = 0.
        Raises LatticeFlowsError where α ≠ 0: the hopping form has no such term.
        """
        self.validate(couplings)
        if not self.is_symmetric(couplings):
            raise LatticeFlowsError("the hopping form has no alpha; set alpha to 0")
        half_linear = (2 * len(self.shape) - couplings.m) / 2
        root = np.hypot(half_linear, np.sqrt(2 * couplings.lam))
        # The form of the root that does not subtract nearly equal numbers.
        if half_linear > 0:
            kappa = 1 / (root + half_linear)
        else:
            kappa = (root - half_linear) / (2 * couplings.lam)
        return float(kappa), float(couplings.lam * kappa**2)
