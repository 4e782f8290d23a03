"""What was found at one coupling point: one type from the computation to the file and the page.

A result has *estimates*, numbers of the theory with their errors, and *details*, whatever else
there is to say of them: effective sample sizes, verdicts, acceptance rates. Files, tables and pages
are made of these two. `as_json` is the last step, for who wants JSON: a number with an error
becomes {"value", "stderr"}, a detail with an error NAME and NAME_stderr, and what is not finite
null.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lattice_flows.ensembles.ensemble import config_of
from lattice_flows.ensembles.solution import solution
from observables import Estimate, Measurement, Observable, answers_of
from observables.estimate import Detail, plain
from theories import LatticeFlowsError, Theory

UNKNOWN = Estimate(nan, nan)


@dataclass(frozen=True)
class Result(ABC):
    """What is known of a theory at `couplings`, an instance of its Couplings.

    exact: exact values of the estimates, NaN where one is not known; None where none is.
    derivatives: with respect to couplings, by name d_NAME_d_COUPLING.
    """

    theory: Theory
    couplings: Any
    exact: Mapping[str, float] | None = field(default=None, kw_only=True)
    derivatives: Mapping[str, Estimate] = field(default_factory=dict, kw_only=True)

    @property
    @abstractmethod
    def observables(self) -> Mapping[str, Estimate]:
        """The observables by name; NaN where a number is lost."""

    @property
    @abstractmethod
    def log_z(self) -> Estimate | None:
        """log Z, None where draws without weights do not tell it."""

    @property
    def profiles(self) -> Mapping[str, NDArray[np.float64]]:
        """Exact functions of the separation, by name."""
        return {}

    @property
    @abstractmethod
    def details(self) -> Mapping[str, Detail]:
        """What else there is to say, by name and in order."""

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that failed: with any, the numbers must not be used."""
        return ()

    @property
    def reliable(self) -> bool:
        """Whether the numbers can be believed: no check failed."""
        return not self.failed

    @property
    def estimates(self) -> dict[str, Estimate | None]:
        """Observables, log Z and derivatives."""
        return {**self.observables, "log_z": self.log_z, **self.derivatives}

    @property
    def values(self) -> dict[str, float]:
        """The couplings by name."""
        return {name: float(value) for name, value in self.couplings._asdict().items()}

    def as_json(self) -> dict[str, Any]:
        """The report that commands print with --json."""
        found = {name: one.as_json() for name, one in self.observables.items()}
        for name, profile in self.profiles.items():
            lost = np.isnan(profile).any()
            value = None if lost else profile.tolist()
            found[name] = {"value": value, "stderr": None if lost else [0.0] * len(profile)}
        return {
            **config_of(self.theory, self.couplings),
            "observables": found,
            "log_z": None if self.log_z is None else self.log_z.as_json(),
            **plain(self.details),
        }


@dataclass(frozen=True)
class Measured(Result):
    """What was measured on draws. more: details of how they were made."""

    measurement: Measurement
    more: Mapping[str, Detail] = field(default_factory=dict)

    @property
    def observables(self) -> Mapping[str, Estimate]:
        return self.measurement.observables

    @property
    def log_z(self) -> Estimate | None:
        return self.measurement.log_z

    @property
    def failed(self) -> tuple[str, ...]:
        return self.measurement.failed

    @property
    def details(self) -> Mapping[str, Detail]:
        return {**self.measurement.details, **self.more}


@dataclass(frozen=True)
class Compared(Measured):
    """What was measured, and was to be compared with exact answers."""

    def as_json(self) -> dict[str, Any]:
        slopes = {name: one.as_json() for name, one in self.derivatives.items()}
        answers = None if self.exact is None else plain(self.exact)
        return {
            **super().as_json(),
            **({"derivatives": slopes} if slopes else {}),
            "exact": answers,
        }


@dataclass(frozen=True)
class Answers(Result):
    """Exact answers; the error of one is what it may be off by, 0 for rounding errors.

    answers: as `exact_answers` gives them. What is lost in rounding errors is NaN, and has a
    NAME_bound among the details.
    """

    answers: Mapping[str, Any]

    @property
    def observables(self) -> Mapping[str, Estimate]:
        names = [name for name in self.answers if name not in {"log_z", *self.profiles}]
        return {name: self._estimate(name) for name in names if not _qualifies(name)}

    @property
    def profiles(self) -> Mapping[str, NDArray[np.float64]]:
        found = {name: np.asarray(one) for name, one in self.answers.items() if np.ndim(one)}
        return {name: one for name, one in found.items() if not _qualifies(name)}

    @property
    def log_z(self) -> Estimate:
        return self._estimate("log_z")

    def _estimate(self, name: str) -> Estimate:
        value = float(self.answers[name])
        return UNKNOWN if isnan(value) else Estimate(value, self.accuracy(name))

    def accuracy(self, name: str) -> float:
        """What an answer may be off by; 0 where that is rounding errors."""
        return float(np.max(self.answers.get(f"{name}_accuracy", 0.0)))

    @property
    def details(self) -> Mapping[str, Detail]:
        bounds = {name: one for name, one in self.answers.items() if name.endswith("_bound")}
        # there are no draws, and so no weights
        return {**bounds, "ess": None, "max_weight_share": None, "reliable": True}


def exact_result(
    theory: Theory,
    couplings: Any,
    own: Sequence[Observable] = (),
    accuracy: float | None = None,
    report: Callable[[str], None] | None = None,
) -> Answers:
    """The exact answers at one coupling point, those of your `own` observables among them.

    accuracy: what log Z, and relative averages, may be off by on tori. report: is told what is done
    where it takes long. Raises LatticeFlowsError where no answers are known, as on lattices of more
    than two dimensions, or where they would take too long.
    """
    for one in own:
        if one.exact is None:
            raise LatticeFlowsError(f"{one.name} has no exact value: Observable(exact=...) has one")
    exact = solution(theory, couplings, accuracy, report)
    return Answers(theory, couplings, answers_of(exact, own))


def known(answers: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    """The exact answers of these names, NaN where there is none or rounding errors hide it."""
    return {name: float(answers.get(name, nan)) for name in names}


def _qualifies(name: str) -> bool:
    """Whether it says something of another answer."""
    return name.endswith(("_bound", "_accuracy"))
