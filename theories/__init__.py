"""What nature says: actions, couplings, symmetries and exact answers."""

from __future__ import annotations

import re
from typing import Any

from .coupling import Coupling as Coupling
from .double_well import DoubleWell as DoubleWell
from .double_well import DoubleWellCouplings as DoubleWellCouplings
from .errors import LatticeFlowsError as LatticeFlowsError
from .errors import NotLoaded as NotLoaded
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
from .outside import home, installed, subclasses
from .outside import load as load
from .phi4 import Phi4 as Phi4
from .phi4 import Phi4Couplings as Phi4Couplings
from .phi4_hopping import Phi4Hopping as Phi4Hopping
from .phi4_hopping import Phi4HoppingCouplings as Phi4HoppingCouplings
from .strip import StripSolution as StripSolution
from .tensor_renormalization import TensorRenormalization as TensorRenormalization
from .theory import ExactAnswers as ExactAnswers
from .theory import Theory as Theory
from .theory import coupling_scale as coupling_scale
from .theory import seconds_of as seconds_of
from .transfer_matrix import TransferMatrix as TransferMatrix

GROUP = "lattice_flows.theories"
"""The entry point group of theories in installed packages."""
THEORIES: dict[str, type[Theory]] = {
    theory.name: theory
    for theory in (
        Phi4,
        Phi4Hopping,
        DoubleWell,
        FreeField,
        ManyWell,
        TwoGaussians,
        FourGaussians,
        SixGaussians,
        FortyGaussians,
    )
}
"""The theories of this package."""


def known() -> dict[str, type[Theory]]:
    """Every theory that is imported, by name: those of this package first, in order.

    No other can take the name of one of these.
    """
    others = [theory for theory in subclasses(Theory) if "name" in vars(theory)]
    return THEORIES | {theory.name: theory for theory in others} | THEORIES


def find(name: str, origin: str | None = None) -> type[Theory]:
    """The theory called `name`: of this package, imported before, or of an installed package.

    `origin` is where a file says that it is from; nothing is loaded because of that.
    Raises LatticeFlowsError for an unknown name (naming the known ones).
    """
    if (theory := known().get(name) or installed(GROUP, name)) is None:
        if origin is not None:
            what = f"this is of a theory of your own, {name} from {origin}"
            raise NotLoaded(what, origin, is_theory=True)
        raise LatticeFlowsError(
            f"there is no theory {name!r}; choose from {', '.join(known())}, or load one of your "
            "own, FILE.py:CLASS"
        )
    return theory


def refuse_nameless(theory: type[Theory]) -> None:
    """Raise LatticeFlowsError unless files can call a theory by a name that is its own."""
    name = vars(theory).get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name):
        raise LatticeFlowsError(
            f'{theory.__qualname__} needs a name: write name = "my-theory" in the class'
        )
    if find(name) is not theory:
        raise LatticeFlowsError(
            f"{theory.__qualname__} has the name {name} of another theory: give it one of its own"
        )


def origin(theory: type[Theory]) -> str | None:
    """Where a theory that is not of this package is from, as `load` takes it."""
    return None if theory in THEORIES.values() else home(theory)


def make(name: str, shape: Any = None, origin: str | None = None) -> Theory:
    """The theory called `name` on a lattice (or with components) of `shape`.

    A theory that has one shape only needs none; `origin` as `find` has it.
    Raises LatticeFlowsError for an unknown name, and for a shape that is bad or missing.
    """
    theory = find(name, origin)
    shape = tuple(shape) if isinstance(shape, list) else shape  # as JSON has it
    return theory(theory.own_shape or () if shape is None else shape)
