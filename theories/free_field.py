"""The free field, solved exactly on any torus.

    S(φ) = Σ_{x,μ} (φ_x - φ_{x+μ})² + M² Σ_x φ_x² = Σ_k (k̂² + M²) |φ_k|²

with the unitary Fourier transform φ_k and k̂² = Σ_μ 4 sin²(k_μ/2), so every mode is an independent
Gaussian: log Z = ½ Σ_k ln π/(k̂² + M²) and ⟨|φ_k|²⟩ = 1/(2(k̂² + M²)). The normalisation is that
of the φ⁴ theory in this package, which becomes this at λ = 0 and m = -M².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from .coupling import Coupling
from .errors import LatticeFlowsError
from .lattice import laplacian_eigenvalues
from .lattice_theory import LatticeTheory
from .quadrature import Grid
from .shapes import Draws


class FreeFieldCouplings(NamedTuple):
    """mass_squared: M² > 0."""

    mass_squared: Annotated[float, Coupling("M^2", "mass squared M²", positive=True)] = 0.25


@dataclass(frozen=True)
class FreeField(LatticeTheory):
    """The free scalar field; the formula is at the head of this module."""

    name: ClassVar[str] = "free-field"
    Couplings: ClassVar[Any] = FreeFieldCouplings
    title: ClassVar[str] = "free field"

    def stiffness(self, couplings: FreeFieldCouplings) -> Any:
        return 1.0

    def potential(self, x: Any, couplings: FreeFieldCouplings) -> Any:
        return couplings.mass_squared * (x * x)

    def quadratic(self, couplings: FreeFieldCouplings) -> Any:
        return couplings.mass_squared

    def leading(self, couplings: FreeFieldCouplings) -> tuple[int, Any]:
        return 2, couplings.mass_squared

    def log_z(self, couplings: FreeFieldCouplings) -> float:
        """The exact log Z."""
        self.validate(couplings)
        return float(0.5 * np.sum(np.log(2 * np.pi * self._mode_variances(couplings))))

    def exact(self, couplings: FreeFieldCouplings) -> GaussianAnswers:
        """The closed form, on a torus of any dimension."""
        return GaussianAnswers(self, couplings)

    def propagator(self, couplings: FreeFieldCouplings) -> Float[np.ndarray, "*shape"]:
        """The exact ⟨φ_0 φ_x⟩ for every displacement x."""
        self.validate(couplings)
        return np.fft.ifftn(self._mode_variances(couplings)).real

    def _mode_variances(self, couplings: FreeFieldCouplings) -> Float[np.ndarray, "*shape"]:
        return 0.5 / (laplacian_eigenvalues(self.shape) + float(couplings.mass_squared))


class GaussianAnswers:
    """The exact answers of the free field at given couplings; all in float64.

    Every average is one of Gaussians: M ~ N(0, 1/(2M²V)), ⟨φ⁴⟩ = 3⟨φ²⟩², ⟨S⟩ = V/2. Slices that are
    perpendicular to the first direction decay with the pole E of their propagator at zero momentum,

        C(r) = cosh(E (L/2 - r)) / (4 A sinh E sinh(E L/2)),    4 sinh²(E/2) = M²,

    L the length in that direction and A = V/L: with E exactly, at every r.

    Raises LatticeFlowsError for invalid couplings, and where M² is beyond double precision.
    """

    def __init__(self, theory: FreeField, couplings: FreeFieldCouplings) -> None:
        theory.validate(couplings)
        if np.ndim(couplings.mass_squared):
            raise LatticeFlowsError("exact answers are for one set of couplings, not for arrays")
        if not 1e-100 < couplings.mass_squared < 1e100:
            raise LatticeFlowsError(
                f"mass_squared = {couplings.mass_squared} is beyond double precision: "
                "give one between 1e-100 and 1e100"
            )
        self.theory = theory
        self.couplings = FreeFieldCouplings(float(couplings.mass_squared))
        self.length = theory.shape[0]
        self.log_z = theory.log_z(self.couplings)
        self.magnetization = 0.0
        self.energy_gap = 2 * float(np.arcsinh(np.sqrt(self.couplings.mass_squared) / 2))

    def correlator(self) -> Float[np.ndarray, " L"]:
        """⟨φ̄_0 φ̄_r⟩ of the means of slices across the first direction, r = 0 … L-1."""
        gap, r = self.energy_gap, np.arange(self.length)
        area = self.theory.sites // self.length
        decay = np.exp(-gap * r) + np.exp(-gap * (self.length - r))
        return decay / (-np.expm1(-gap * self.length) * 4 * area * np.sinh(gap))

    def connected_correlator(self) -> Float[np.ndarray, " L"]:
        """The same: ⟨φ⟩ = 0."""
        return self.correlator()

    def correlator_gaps(self) -> Float[np.ndarray, " r"]:
        """Δ(r) = arcosh((C(r-1) + C(r+1)) / 2C(r)) for r = 1 … L/2."""
        return np.full(self.length // 2, self.energy_gap)

    def magnetization_distribution(self, points: int = 801) -> tuple[Grid, Grid]:
        """(M, P(M)): the normal density of M on a uniform grid of ten deviations."""
        deviation = np.sqrt(0.5 / (self.couplings.mass_squared * self.theory.sites))
        m = np.linspace(-10, 10, points) * deviation
        density = np.exp(-0.5 * (m / deviation) ** 2) / (np.sqrt(2 * np.pi) * deviation)
        return m, density

    def observables(self) -> dict[str, Any]:
        """Every exact observable by its usual name; `correlator` is an array, by distance."""
        chi = 0.5 / self.couplings.mass_squared  # V⟨M²⟩
        phi2 = float(self.theory.propagator(self.couplings).flat[0])
        return {
            "magnetization": self.magnetization,
            "abs_magnetization": float(np.sqrt(2 * chi / (np.pi * self.theory.sites))),
            "susceptibility": chi,
            "susceptibility_abs": chi * (1 - 2 / np.pi),
            "binder_cumulant": 0.0,
            "phi2": phi2,
            "phi4": 3 * phi2**2,
            "action_density": 0.5,
            "correlator": self.correlator(),
            "correlation_length": 1 / self.energy_gap,
            "energy_gap": self.energy_gap,
            "positive_mode_weight": 0.5,
            "log_z": self.log_z,
        }

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        """n independent configurations from p(φ), exactly; float64."""
        axes = tuple(range(1, 1 + len(self.theory.shape)))
        # white noise, filtered mode by mode: real fields stay real, the modes independent
        modes = np.fft.fftn(rng.normal(size=(n, *self.theory.shape)), axes=axes)
        modes *= np.sqrt(self.theory._mode_variances(self.couplings))
        return np.fft.ifftn(modes, axes=axes).real
