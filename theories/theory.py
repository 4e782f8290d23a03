"""The contract every theory fulfils.

    p(φ) = e^{-S(φ)} / Z,    S(φ) = stiffness Σ_{x,μ} (φ_x - φ_{x+μ})² + Σ_x potential(φ_x)

on a periodic lattice. The bond sum takes every site and direction once, so an axis of length 2 has
two bonds between its two sites. Couplings are data, not structure: a NamedTuple of scalars that is
passed to every method, so that one sampler can serve a whole range of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .errors import LatticeFlowsError
from .lattice import PointGroupElement, bond_energy, point_group


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
class Theory(ABC):
    """A scalar lattice field theory on a periodic lattice of `shape`, each side at least 2.

    Raises LatticeFlowsError for a shape that is not a tuple of integers ≥ 2.
    """

    shape: tuple[int, ...]

    name: ClassVar[str]
    Couplings: ClassVar[Any]
    z2_odd: ClassVar[tuple[str, ...]] = ()
    positive: ClassVar[tuple[str, ...]] = ()
    references: ClassVar[str] = ""

    def __post_init__(self) -> None:
        try:
            shape = tuple(self.shape)
        except TypeError:
            shape = ()
        whole = all(isinstance(side, Integral) and not isinstance(side, bool) for side in shape)
        if not shape or not whole or min(shape) < 2:
            raise LatticeFlowsError(
                f"a lattice needs at least 2 sites in every direction, got shape {self.shape!r}; "
                "give whole numbers such as (16,) or (8, 8)"
            )
        object.__setattr__(self, "shape", tuple(int(side) for side in shape))

    @property
    def sites(self) -> int:
        """The volume V, the number of sites."""
        return int(np.prod(self.shape))

    @property
    def symmetries(self) -> Symmetries:
        return Symmetries(self.shape, point_group(self.shape), self.z2_odd)

    @abstractmethod
    def stiffness(self, couplings) -> Any:
        """The coefficient of (φ_x - φ_{x+μ})²; a scalar."""

    @abstractmethod
    def potential(self, x, couplings) -> Any:
        """The one-site potential, elementwise, for NumPy and jax arrays alike."""

    @abstractmethod
    def quadratic(self, couplings) -> Any:
        """The coefficient of x² in the potential where the odd couplings vanish."""

    @abstractmethod
    def quartic(self, couplings) -> Any:
        """The coefficient of x⁴ in the potential; it rules the large-field behaviour."""

    def action(self, phi: jax.Array, couplings) -> jax.Array:
        """S(φ) of one configuration, a scalar in the precision of `phi` (vmap for more).

        Differentiable in `phi` and in the couplings.
        Raises LatticeFlowsError if `phi` has another shape than the lattice or is not real.
        """
        phi = jnp.asarray(phi)
        if phi.shape != self.shape:
            raise LatticeFlowsError(
                f"the action takes one configuration of shape {self.shape}, got {phi.shape}; "
                "use jax.vmap over several"
            )
        if not jnp.issubdtype(phi.dtype, jnp.floating):
            raise LatticeFlowsError(f"configurations are real numbers, got {phi.dtype}")
        couplings = type(couplings)(*(jnp.asarray(value, phi.dtype) for value in couplings))
        bonds = self.stiffness(couplings) * bond_energy(phi)
        return bonds + jnp.sum(self.potential(phi, couplings))

    def from_values(self, **values) -> Any:
        """Couplings from names and values, the defaults filled in.

        Raises LatticeFlowsError for a name that the theory does not have. Values are not judged
        here (they may be traced); `validate` does that.
        """
        known = self.Couplings._fields
        unknown = [name for name in values if name not in known]
        if unknown:
            raise LatticeFlowsError(
                f"{self.name} has no coupling {', '.join(unknown)}; it has {', '.join(known)}"
            )
        return self.Couplings(**values)

    def validate(self, couplings) -> None:
        """Raise LatticeFlowsError unless every coupling is a finite number in its allowed range.

        Arrays are judged entry by entry.
        """
        if not isinstance(couplings, self.Couplings):
            raise LatticeFlowsError(
                f"{self.name} takes {self.name} couplings ({', '.join(self.Couplings._fields)}), "
                f"got {couplings!r}; make them with from_values"
            )
        for name, value in couplings._asdict().items():
            try:
                numbers = np.asarray(value, dtype=np.float64)
            except (TypeError, ValueError):
                raise LatticeFlowsError(f"{name} must be a number, got {value!r}") from None
            if not np.all(np.isfinite(numbers)):
                raise LatticeFlowsError(f"{name} must be finite, got {value}")
            if name in self.positive and not np.all(numbers > 0):
                raise LatticeFlowsError(f"{name} must be greater than 0, got {value}")

    def is_symmetric(self, couplings) -> bool:
        """Whether φ → -φ is a symmetry at these (concrete) couplings."""
        return all(np.all(np.asarray(getattr(couplings, name)) == 0) for name in self.z2_odd)

    def flip(self, couplings) -> Any:
        """The couplings with the odd ones negated: S(-φ; flip(θ)) = S(φ; θ)."""
        return couplings._replace(**{name: -getattr(couplings, name) for name in self.z2_odd})


class Rescaled(NamedTuple):
    """A theory given in another normalisation of the field.

    couplings: the same theory in this project's convention.
    field_scale: φ (here) = field_scale · φ (there).
    log_z_shift: log Z (there) = log Z (here) + log_z_shift.
    """

    couplings: Any
    field_scale: Any
    log_z_shift: Any
