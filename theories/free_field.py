"""The free field, solved exactly on any torus.

    S(φ) = Σ_{x,μ} (φ_x - φ_{x+μ})² + M² Σ_x φ_x² = Σ_k (k̂² + M²) |φ_k|²

with the unitary Fourier transform φ_k and k̂² = Σ_μ 4 sin²(k_μ/2), so every mode is an independent
Gaussian: log Z = ½ Σ_k ln π/(k̂² + M²) and ⟨|φ_k|²⟩ = 1/(2(k̂² + M²)). The normalisation is that
of the φ⁴ theory in this package, which becomes this at λ = 0 and m = -M².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .lattice import laplacian_eigenvalues
from .lattice_theory import LatticeTheory


class FreeFieldCouplings(NamedTuple):
    """mass_squared: M² > 0."""

    mass_squared: float = 0.25


@dataclass(frozen=True)
class FreeField(LatticeTheory):
    """The free scalar field; the formula is at the head of this module."""

    name: ClassVar[str] = "free-field"
    Couplings: ClassVar[Any] = FreeFieldCouplings
    positive: ClassVar[tuple[str, ...]] = ("mass_squared",)

    def stiffness(self, couplings):
        return 1.0

    def potential(self, x, couplings):
        return couplings.mass_squared * (x * x)

    def quadratic(self, couplings):
        return couplings.mass_squared

    def quartic(self, couplings):
        return 0.0

    def log_z(self, couplings: FreeFieldCouplings) -> float:
        """The exact log Z."""
        self.validate(couplings)
        return float(0.5 * np.sum(np.log(2 * np.pi * self._mode_variances(couplings))))

    def propagator(self, couplings: FreeFieldCouplings) -> np.ndarray:
        """The exact ⟨φ_0 φ_x⟩ for every displacement x; float64, shape `shape`."""
        self.validate(couplings)
        return np.fft.ifftn(self._mode_variances(couplings)).real

    def _mode_variances(self, couplings: FreeFieldCouplings) -> np.ndarray:
        return 0.5 / (laplacian_eigenvalues(self.shape) + float(couplings.mass_squared))
