"""What nature says: actions, couplings, symmetries and exact answers."""

from __future__ import annotations

from .double_well import DoubleWell as DoubleWell
from .double_well import DoubleWellCouplings as DoubleWellCouplings
from .errors import LatticeFlowsError as LatticeFlowsError
from .free_field import FreeField as FreeField
from .free_field import FreeFieldCouplings as FreeFieldCouplings
from .free_field import GaussianAnswers as GaussianAnswers
from .lattice_theory import LatticeTheory as LatticeTheory
from .lattice_theory import Rescaled as Rescaled
from .lattice_theory import Symmetries as Symmetries
from .many_well import ManyWell as ManyWell
from .many_well import ManyWellCouplings as ManyWellCouplings
from .mixtures import FortyGaussians as FortyGaussians
from .mixtures import FourGaussians as FourGaussians
from .mixtures import GaussianMixture as GaussianMixture
from .mixtures import MixtureCouplings as MixtureCouplings
from .mixtures import SixGaussians as SixGaussians
from .mixtures import TwoGaussians as TwoGaussians
from .phi4 import Phi4 as Phi4
from .phi4 import Phi4Couplings as Phi4Couplings
from .phi4_hopping import Phi4Hopping as Phi4Hopping
from .phi4_hopping import Phi4HoppingCouplings as Phi4HoppingCouplings
from .teleportation import Teleportation as Teleportation
from .theory import ExactAnswers as ExactAnswers
from .theory import Theory as Theory
from .theory import coupling_scale as coupling_scale
from .transfer_matrix import TransferMatrix as TransferMatrix

THEORIES: dict[str, type[Theory]] = {
    theory.name: theory
    for theory in (
        Phi4,
        DoubleWell,
        FreeField,
        Phi4Hopping,
        FourGaussians,
        TwoGaussians,
        SixGaussians,
        FortyGaussians,
        ManyWell,
    )
}


def find(name: str) -> type[Theory]:
    """The theory called `name`.

    Raises LatticeFlowsError for an unknown name (naming the known ones).
    """
    if name not in THEORIES:
        raise LatticeFlowsError(f"there is no theory {name!r}; choose from {', '.join(THEORIES)}")
    return THEORIES[name]


def make(name: str, shape: tuple[int, ...] | None = None) -> Theory:
    """The theory called `name` on a lattice (or with components) of `shape`.

    A theory that has one shape only needs none.
    Raises LatticeFlowsError for an unknown name, and for a shape that is bad or missing.
    """
    theory = find(name)
    return theory(theory.own_shape or () if shape is None else shape)
