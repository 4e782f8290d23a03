"""Exact answers in two dimensions, from the transfer matrix of a strip.

A torus of L × W sites is a chain of L rows, Z = Tr T^L, with T on Gauss nodes at each site of a row
(gauss.py, rows.py). Two things are not exact, and both are told with every number:

- the nodes. Their error falls faster than exponentially in their number n: every answer is computed
  with n - 1 and n - 2, too, and the differences are what those err by.
- the eigenstates that are left out, which are bounded (states.py).

There are as many nodes as the accuracy asks for, or as time and memory allow: a function of a row
is n^W numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..errors import LatticeFlowsError
from ..quadrature import Grid
from ..shapes import Draws, Point
from .answers import Answer, StripAnswers
from .derivatives import differences, log_z_derivatives
from .node_choice import Choice, NodeChoice
from .sampling import StripSampler

MAX_SECONDS = 600.0
MAX_BYTES = 4e9
MAX_LENGTH = 1024
LEAST_NODES = 5  # of fewer the differences do not tell the error
MOST_NODES = 24
_QUICK, _GOOD = 60.0, 1e-5
_SMALL, _LARGE = 10**4, 10**6  # states; of more, fewer eigenvectors are kept
# Of the difference between n and n - 1 nodes, which is mostly ten times the error of n.
_KNOWN = 100


class Cost(NamedTuple):
    """What a number of nodes takes, as it was measured on one core: an upper estimate."""

    seconds: float
    gigabytes: float


def cost(length: int, width: int, n: int, magnetization: bool) -> Cost:
    """Of `length` rows of `width` sites with `n` nodes each: of P(M), or of all else."""
    states = float(n) ** width
    apply = 1e-9 * states * (width * (0.5 * n + 1.5) + 10)
    # 30 values of k, and for each of them 35 states that take half the length and come back.
    steps = 30 * 35 * 0.75 * min(length, 40) if magnetization else 250 + 40 * min(length, 40)
    return Cost(apply * steps, 130e-9 * states)


class StripSolution:
    """The exact solution of a lattice theory on a torus of two dimensions; all in float64.

    nodes: n of each site; by default as many as `accuracy` (of log Z, and relative of moments)
    needs. along: the axis from row to row; the longer by default. seconds: that it may take. After
    construction `nodes` tells the nodes, and `magnetization_nodes` those for P(M): fewer where time
    is short. Answers are found when they are first asked for; `observables` has all of them.

    Raises LatticeFlowsError for lattices that are no torus of two dimensions (or chain), for
    couplings that are invalid, and where one solution would take more than `seconds` or 4 GB: the
    message says how much.
    """

    def __init__(
        self,
        theory: Any,
        couplings: Point,
        *,
        nodes: int | None = None,
        along: int | None = None,
        accuracy: float = 1e-7,
        seconds: float = MAX_SECONDS,
    ) -> None:
        if len(theory.shape) > 2:
            raise LatticeFlowsError(
                f"exact answers are for two dimensions, not for shape {theory.shape}; "
                "give two sides"
            )
        self.along = int(np.argmax(theory.shape)) if along is None else along
        self.rows = theory.shape[self.along]
        self.width = theory.sites // self.rows
        if self.rows > MAX_LENGTH:
            raise LatticeFlowsError(
                f"exact answers are for sides of {MAX_LENGTH} sites at most, not {self.rows}"
            )
        theory.validate(couplings)
        if any(np.ndim(value) for value in couplings):
            raise LatticeFlowsError("exact answers are for one set of couplings, not for arrays")
        self.theory = theory
        self._seconds = seconds
        self.length = theory.shape[0]
        self.couplings = couplings._make(map(float, couplings))
        self._stiffness = float(theory.stiffness(self.couplings))
        self._even = bool(theory.is_symmetric(self.couplings))
        self._choice = NodeChoice(self._potential, self._stiffness, self.width, self._even)
        self.nodes = self._enough(accuracy, False) if nodes is None else nodes
        self._refuse_dear(self.nodes)
        self.magnetization_nodes = self._enough(accuracy, True) if nodes is None else nodes
        self._known: dict[int, StripAnswers] = {}

    def _potential(self, x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        return self.theory.potential(x, self.couplings)

    def _enough(self, accuracy: float, magnetization: bool) -> int:
        """The fewest nodes that are accurate, or the most that can be paid."""
        for n in range(LEAST_NODES, MOST_NODES + 1):
            more = cost(self.rows, self.width, n + 1, magnetization)
            most = self._seconds / 3 if magnetization else self._seconds
            if more.seconds > most or more.gigabytes * 1e9 > MAX_BYTES:
                return n
            # log Z sums up what the sites err by; averages have the error of one.
            sites = 1 if magnetization else self.theory.sites
            if self._choices(n).error * sites < accuracy:
                return n
        return MOST_NODES

    def _choices(self, n: int) -> Choice:
        if n not in self._found_choices:
            self._found_choices[n] = self._choice.best(n)
        return self._found_choices[n]

    @cached_property
    def _found_choices(self) -> dict[int, Choice]:
        return {}

    def _refuse_dear(self, n: int) -> None:
        if n < LEAST_NODES:
            raise LatticeFlowsError(f"a site needs {LEAST_NODES} nodes or more, not `nodes={n}`")
        need = cost(self.rows, self.width, n, False)
        sides = "x".join(map(str, self.theory.shape))
        if need.seconds > self._seconds or need.gigabytes * 1e9 > MAX_BYTES:
            raise LatticeFlowsError(
                f"an exact solution on {sides} would take {need.seconds:.2g} seconds "
                f"and {need.gigabytes:.2g} GB with {n} nodes a site: the shorter side is too long"
            )

    @property
    def seconds(self) -> float:
        """What all answers take, about."""
        return sum(
            cost(self.rows, self.width, n - less, of_m).seconds
            for n, of_m in ((self.nodes, False), (self.magnetization_nodes, True))
            for less in range(3)
        )

    @property
    def expected_error(self) -> float:
        """What log Z, or relative an average, will be off by, about: from the small torus."""
        fields = self._choices(self.nodes).error * self.theory.sites
        return max(fields, self._choices(self.magnetization_nodes).error)

    # -- answers -----------------------------------------------------------------------------

    def _answers(self, n: int) -> StripAnswers:
        if n not in self._known:
            self._known[n] = StripAnswers(
                self.theory,
                self.couplings,
                self.along,
                self._choices(n),
                *self._targets(n**self.width),
            )
        return self._known[n]

    def _levels(self, n: int) -> list[StripAnswers]:
        """Of n, n - 1 and n - 2 nodes."""
        return [self._answers(n - less) for less in range(3)]

    def _targets(self, states: int) -> tuple[float, float]:
        """What eigenstates may leave out: of Z, and of ⟨e^{ikM}⟩."""
        if states < _SMALL:
            return 1e-11, 1e-8
        if states < _LARGE:
            return 1e-11, 1e-7
        return 1e-9, 1e-5

    def _told(self, answer: Callable[..., Answer], *arguments: Any) -> Answer:
        """An answer, and the sum of its errors."""
        return _together([answer(one, *arguments) for one in self._levels(self.nodes)])

    @cached_property
    def _all(self) -> dict[str, Answer]:
        n, m = self.nodes, self.magnetization_nodes
        found = {}
        for of, nodes in ((StripAnswers.of_fields, n), (StripAnswers.of_magnetization, m)):
            levels = [of(answers) for answers in self._levels(nodes)]
            found |= {name: _together([level[name] for level in levels]) for name in levels[0]}
        gap, error = self.gap_with_error
        found["energy_gap"] = gap, error
        found["correlation_length"] = 1 / gap, error / gap**2
        return found

    @cached_property
    def _log_z(self) -> Answer:
        return self._told(StripAnswers.log_z)

    @property
    def log_z(self) -> float:
        """log Z, with the measure Π dφ."""
        return self._log_z[0]

    @property
    def log_z_error(self) -> float:
        """What log Z errs by: an estimate of the nodes, a bound of the states left out."""
        return self._log_z[1]

    @property
    def strip_log_z_density(self) -> Answer:
        """(log Z per site, error) of the strip of `width` that goes on for ever."""
        return self._told(StripAnswers.log_z_density)

    @property
    def strip_gap(self) -> Answer:
        """(ln κ_0/κ_1, error) of the strip of `width`: the decay along its endless side."""
        return self._told(StripAnswers.gap)

    @property
    def energy_gap(self) -> float:
        """The gap that slices across the first direction decay with; NaN where it is too dear."""
        return self.gap_with_error[0]

    @cached_property
    def gap_with_error(self) -> Answer:
        """(ln κ_0/κ_1, error) of slices across the first direction; NaN where it is too dear."""
        if self.along == 0:
            return self.strip_gap
        try:
            across = StripSolution(
                self.theory,
                self.couplings,
                nodes=self.nodes,
                along=0,
                seconds=self._seconds / 3,  # it is one answer of many
            )
            return across.strip_gap
        except LatticeFlowsError:  # it says what it would take
            return np.nan, np.nan

    def moment(self, power: int) -> float:
        """⟨φ^power⟩ of one site."""
        return self.moment_with_error(power)[0]

    def moment_with_error(self, power: int) -> Answer:
        """(⟨φ^power⟩, error) of one site."""
        return self._told(StripAnswers.moment, power)

    def two_point_with_error(self) -> Answer:
        """(⟨φ_0 φ_x⟩ for every displacement x, error), arrays of the lattice's shape."""
        found = [answers.two_point for answers in self._levels(self.nodes)]
        return _together([(pairs, np.full_like(pairs, error)) for pairs, error in found])

    def correlator(self) -> Float[np.ndarray, " L"]:
        """⟨φ̄_0 φ̄_r⟩ of the means of slices across the first direction, for every r."""
        return self._told(StripAnswers.correlator)[0]

    def connected_correlator(self) -> Float[np.ndarray, " L"]:
        """C(r) = ⟨φ̄_0 φ̄_r⟩ - ⟨φ⟩²."""
        return self.correlator() - self.moment(1) ** 2

    def correlator_gaps(self) -> Float[np.ndarray, " r"]:
        """Δ(r) = arcosh((C(r-1) + C(r+1)) / 2C(r)) for r = 1 … half-way; NaN where not known."""
        value, error = self._told(StripAnswers.correlator)
        mean, more = self.moment_with_error(1)
        connected, error = value - mean**2, error + 2 * abs(mean) * more
        r = np.arange(1, len(value) // 2 + 1)
        bend = connected[r - 1] + connected[(r + 1) % len(value)] - 2 * connected[r]
        lost = (np.abs(connected[r]) < _KNOWN * error[r]) | (bend < _KNOWN * error[r])
        ratio = bend / np.where(lost, np.nan, connected[r])
        return 2 * np.arcsinh(np.sqrt(ratio) / 2)

    def magnetization_distribution(self, points: int = 801) -> tuple[Grid, Grid]:
        """(M, P(M)): the probability density of M on a uniform grid of `points` values."""
        m, density, _ = self.magnetization_distribution_with_error(points)
        return m, density

    def magnetization_distribution_with_error(
        self, points: int | Grid = 801
    ) -> tuple[Grid, Grid, Grid]:
        """(M, P(M), error): the probability density of M, and what each value errs by.

        On a uniform grid of `points` values where M can be, or at `points` themselves.
        """
        found = [answers.distribution for answers in self._levels(self.magnetization_nodes)]
        bound, error = found[0].bound, found[0].error
        m = np.linspace(-bound, bound, points) if isinstance(points, int) else points
        rest = np.full(len(m), error * len(found[0].characteristic) / bound)
        return m, *_together([(one.density(m), rest) for one in found])

    def log_z_derivatives(self) -> dict[str, Answer]:
        """(∂ log Z, error) by each coupling: -⟨∂S⟩."""
        levels = [log_z_derivatives(answers) for answers in self._levels(self.nodes)]
        return {name: _together([level[name] for level in levels]) for name in levels[0]}

    def derivatives(self) -> dict[str, dict[str, Answer]]:
        """(∂⟨O⟩, error) by each coupling, of every observable O: five solutions for each."""
        levels = [
            differences(answers, self._targets(answers.states.rows.states))
            for answers in self._levels(self.nodes)
        ]
        return {
            coupling: {name: _together([level[coupling][name] for level in levels]) for name in of}
            for coupling, of in levels[0].items()
        }

    def observables(self) -> dict[str, Any]:
        """Every exact observable by its usual name; `correlator` is an array, by distance.

        NAME_accuracy is what it may be off by. One that is smaller than that is NaN, and NAME_bound
        says what it cannot exceed.
        """
        found: dict[str, Any] = {}
        for name, (value, error) in self._all.items():
            found |= {name: value, f"{name}_accuracy": error}
            if np.ndim(value) == 0 and value != 0 and abs(value) <= error:
                found[name] = float("nan")
                found[f"{name}_bound"] = float(abs(value) + error)
        return found

    def errors(self) -> Mapping[str, Any]:
        """What each of the `observables` errs by: see `log_z_error`."""
        return {name: error for name, (_, error) in self._all.items()}

    # -- samples -----------------------------------------------------------------------------

    @cached_property
    def _sampler(self) -> StripSampler:
        """With as few nodes as serve: what they err by is taken off by the weights."""
        n = self.nodes
        while n > LEAST_NODES and self._choices(n - 1).error * self.theory.sites < 0.01:
            n -= 1
        return StripSampler(self._answers(n).states, self._potential, self._stiffness)

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        """n independent configurations from p(φ), but for weights that are clipped; float64.

        sampling.py says which; they are within a percent or so of one another.
        """
        phi = self._sampler.sample(rng, n)
        if len(self.theory.shape) == 1:
            return phi[:, :, 0]
        return phi.transpose(0, 2, 1) if self.along else phi


@lru_cache(maxsize=2)
def quick_solution(theory: Any, couplings: Point) -> StripSolution | None:
    """The solution where all answers take a minute or so, and are good; None where they are not.

    Raises LatticeFlowsError for invalid couplings.
    """
    theory.validate(couplings)
    try:
        found = StripSolution(theory, couplings, seconds=_QUICK)
    except LatticeFlowsError:  # too dear, or wells too deep for the nodes
        return None
    return found if found.expected_error < _GOOD and found.seconds < 2 * _QUICK else None


def _together(levels: list[Answer]) -> Answer:
    """The answer of most nodes, and its error: of the states left out, and of the nodes.

    Where two numbers of nodes agree by chance the third tells.
    """
    value, error = levels[0]
    total = error + np.abs(value - levels[1][0]) + np.abs(value - levels[2][0]) / 8
    return value, (float(total) if np.ndim(total) == 0 else total)
