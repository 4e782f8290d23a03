"""Scalar field theories on periodic lattices.

    S(φ) = stiffness Σ_{x,μ} (φ_x - φ_{x+μ})² + Σ_x potential(φ_x)

The bond sum takes every site and direction once, so an axis of length 2 has two bonds between its
two sites.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .lattice import PointGroupElement, bond_energy, point_group
from .shapes import Configuration, Point, Scalar
from .strip import quick_solution
from .theory import ExactAnswers, Theory
from .transfer_matrix import TransferMatrix


@dataclass(frozen=True)
class Symmetries:
    """The symmetry group of an action, as data.

    translations: the number of steps along each axis that leave the lattice as it is (its shape).
    point_group: rotations and reflections about a site (`theories.lattice.transform` applies one).
    z2_odd: the couplings that change sign under φ → -φ. S(-φ; -odd) = S(φ; odd) always (they are
        spurions); φ → -φ alone is a symmetry exactly where they all vanish.
    """

    translations: tuple[int, ...]
    point_group: tuple[PointGroupElement, ...]
    z2_odd: tuple[str, ...]


@dataclass(frozen=True)
class LatticeTheory(Theory):
    """A scalar field theory on a periodic lattice of `shape`, each side at least 2."""

    least_side: ClassVar[int] = 2

    def _needs(self) -> str:
        return "a lattice needs at least 2 sites in every direction"

    @property
    def symmetries(self) -> Symmetries:
        return Symmetries(self.shape, point_group(self.shape), self.z2_odd)

    def stiffness(self, couplings: Point) -> Any:
        """The coefficient of (φ_x - φ_{x+μ})²; a scalar, 1 unless a theory says otherwise."""
        return 1.0

    @abstractmethod
    def potential(self, x: Any, couplings: Point) -> Any:
        """The one-site potential, elementwise, for NumPy and jax arrays alike."""

    @abstractmethod
    def leading(self, couplings: Point) -> tuple[int, Any]:
        """(p, c): the potential goes as c x^p for large fields, c > 0; p even, the same always."""

    def quadratic(self, couplings: Point) -> Any:
        """The coefficient of x² in the potential where the odd couplings vanish."""
        import jax

        even = couplings._replace(**{name: 0.0 for name in self.z2_odd})
        curvature = jax.grad(jax.grad(lambda x: self.potential(x, even)))
        return curvature(0.0) / 2

    @property
    def is_free(self) -> bool:
        """Whether the potential is quadratic, and the field free."""
        power, _ = self.leading(self.from_values())
        return power == 2

    def strength(self, couplings: Point) -> Any:
        """λ = c^{4/p} of a potential that goes as c x^p; 0 of a free one.

        λ^{-1/4} is the theory's own unit of the field: there c x^p is 1.
        """
        power, coefficient = self.leading(couplings)
        return 0.0 if power == 2 else coefficient if power == 4 else coefficient ** (4 / power)

    def action(self, phi: Configuration, couplings: Point) -> Scalar:
        import jax.numpy as jnp

        phi, couplings = self.checked(phi, couplings)
        bonds = self.stiffness(couplings) * bond_energy(phi)
        return bonds + jnp.sum(self.potential(phi, couplings))

    def exact(self, couplings: Point) -> ExactAnswers | None:
        """The transfer matrix of a chain, or of the rows of a small torus in two dimensions.

        None where that would take more than a minute or so, and in more dimensions.
        """
        if len(self.shape) == 1:
            return TransferMatrix(self, couplings)
        if len(self.shape) > 2 or any(np.ndim(value) for value in couplings):
            return None
        return quick_solution(self, couplings._make(map(float, couplings)))


class Rescaled(NamedTuple):
    """A theory given in another normalisation of the field.

    couplings: the same theory in this project's convention.
    field_scale: φ (here) = field_scale · φ (there).
    log_z_shift: log Z (there) = log Z (here) + log_z_shift.
    """

    couplings: Any
    field_scale: Any
    log_z_shift: Any
