"""An observable of one's own: a name, what is measured on a configuration, what is made of it.

    O = value(⟨measure(φ)⟩)

`measure` gives one or several numbers for each configuration, and `value` is a function of their
averages: the average itself, a variance, a ratio. Errors, reweighting, chains and derivatives are
those of every other observable. So a fourth cumulant of the magnetization is

    Observable("kappa_4", lambda phi: np.stack([m(phi) ** 2, m(phi) ** 4], axis=1),
               value=lambda a: a[..., 1] - 3 * a[..., 0] ** 2)
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Num
from numpy.typing import ArrayLike

from theories import LatticeFlowsError, LatticeTheory, Theory
from theories.outside import said

from .orbit import actions, orbit_average
from .quantities import Array, Quantities

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN = re.compile(r"d_.*|.*_(stderr|exact|curve|bound|accuracy|interval_68|interval_95)")
_REPORTED = {
    *("theory", "shape", "couplings", "observables", "exact", "derivatives", "correlator"),
    *("energy_gap", "tau_int", "n", "ess", "max_weight_share", "reliable", "failed"),
    *("failed_checks", "invariance"),
}
"""Names that files and reports use for something else."""


@dataclass(frozen=True)
class Observable:
    """A named observable.

    name: what tables, files and reports call it: small letters, digits and _.
    measure: configurations (n, *shape) -> (n,) or (n, k), of each configuration alone.
    value: averages (..., k) -> (...), vectorised over the leading axes and made of analytic
        functions; the average itself by default.
    symbol: in LaTeX without dollar signs, for figures. long_name: what it is, for files.
    exact: the exact answers of a theory (`Theory.exact`) -> the exact value, where there is one.

    Raises LatticeFlowsError for a name that cannot be.
    """

    name: str
    measure: Callable[[Array], ArrayLike]
    value: Callable[[Array], ArrayLike] = lambda averages: averages[..., 0]
    symbol: str = ""
    long_name: str = ""
    exact: Callable[[Any], float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise LatticeFlowsError(
                f"{self.name!r} names no observable: use small letters, digits and _"
            )
        if _TAKEN.fullmatch(self.name) or self.name in _REPORTED:
            raise LatticeFlowsError(
                f"an observable called {self.name} would hide something else: rename it"
            )

    def measured(self, phi: Array) -> Array:
        """(n, k), finite or not.

        Raises LatticeFlowsError where `measure` fails or has another shape.
        """
        try:
            found = np.asarray(self.measure(phi), dtype=np.float64)
        except Exception as error:  # code of others, which may raise anything
            raise LatticeFlowsError(f"{self.name} can't be measured: {said(error)}") from error
        if found.ndim not in (1, 2) or len(found) != len(phi):
            raise LatticeFlowsError(
                f"{self.name} of {len(phi)} configurations is an array of shape {found.shape}: "
                "a number, or a row of numbers, is wanted for each"
            )
        return found.reshape(len(phi), -1)

    def valued(self, averages: Num[np.ndarray, "... k"]) -> Num[np.ndarray, "..."]:
        """The observable of averages (..., k): (...,).

        Raises LatticeFlowsError where `value` fails, has another shape, or is not analytic where it
        must be.
        """
        try:
            found = np.asarray(self.value(averages))
        except Exception as error:
            raise LatticeFlowsError(f"{self.name} has no value: {said(error)}") from error
        if found.shape != averages.shape[:-1]:
            raise LatticeFlowsError(
                f"the value of {self.name} has shape {found.shape} for averages "
                f"{averages.shape}: it must act on the last axis alone"
            )
        if np.iscomplexobj(averages) and not np.iscomplexobj(found):
            raise LatticeFlowsError(
                f"the value of {self.name} is not analytic in the averages (np.abs, say), and has "
                "no derivative: leave derivatives out"
            )
        return found

    def answer(self, exact: Any) -> float:
        """The exact value from the exact answers of a theory, NaN where there is none.

        Raises LatticeFlowsError where `exact` fails.
        """
        if self.exact is None:
            return np.nan
        try:
            return float(self.exact(exact))
        except Exception as error:
            raise LatticeFlowsError(
                f"the exact value of {self.name} can't be had: {said(error)}"
            ) from error


def measured_over_orbit(
    theory: Theory, couplings: Any, phi: Array, measure: Callable[[Array], Array], orbit: bool
) -> Array:
    """What is measured on φ, (n, k), averaged over φ → -φ (orbit.py) on lattices if `orbit`."""
    if not (orbit and isinstance(theory, LatticeTheory)):
        return measure(phi)
    s, s_minus = (actions(theory, couplings, sign * phi) for sign in (1, -1))
    return orbit_average(measure(phi), measure(-phi), s, s_minus)


def with_own(known: Quantities, theory: Theory, own: Sequence[Observable]) -> Quantities:
    """The quantities of a theory, and observables of one's own after them.

    Raises LatticeFlowsError for a name that is used already.
    """
    if not own:
        return known
    names = [one.name for one in own]
    used = [*known.long_names, *theory.Couplings._fields]
    for i, name in enumerate(names):
        if name in used or name in names[:i]:
            raise LatticeFlowsError(f"there is {name} already: call your observable otherwise")
    # one configuration tells how many numbers there are of each
    probe = np.zeros((1, *theory.shape))
    with np.errstate(all="ignore"):
        ends = np.cumsum([one.measured(probe).shape[1] for one in own])
        of_theory = known.samples(theory.from_values(), probe, False).shape[1]
    starts = of_theory + np.concatenate([[0], ends[:-1]])
    columns = [slice(a, of_theory + b) for a, b in zip(starts, ends, strict=True)]

    def samples(couplings: Any, phi: Array, orbit: bool) -> Array:
        mine = np.concatenate(
            [measured_over_orbit(theory, couplings, phi, one.measured, orbit) for one in own],
            axis=1,
        )
        return np.concatenate([known.samples(couplings, phi, orbit), mine], axis=1)

    def values(averages: Num[np.ndarray, "... k"]) -> Num[np.ndarray, "... p"]:
        mine = [one.valued(averages[..., c]) for one, c in zip(own, columns, strict=True)]
        return np.concatenate(
            [known.values(averages[..., :of_theory]), np.stack(mine, axis=-1)], axis=-1
        )

    long_names = dict(known.long_names)
    log_z = long_names.pop("log_z")
    long_names |= {one.name: one.long_name or one.name.replace("_", " ") for one in own}
    symbols = {**known.symbols, **{one.name: one.symbol for one in own if one.symbol}}
    return replace(
        known,
        long_names={**long_names, "log_z": log_z},
        symbols=symbols,
        samples=samples,
        values=values,
    )
