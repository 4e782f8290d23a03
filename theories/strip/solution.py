"""Exact answers in two dimensions, from the transfer matrix of a strip.

A torus of L × W sites is a chain of L rows, Z = Tr T^L, with T on Gauss nodes at each site of a row
(gauss.py, rows.py). Two things are not exact, and both are told with every number:

- the nodes, of whose error levels.py tells, and takes it off where it can;
- the eigenstates that are left out, which are bounded (states.py).

There are as many nodes as the accuracy asks for, or as time and memory allow: a function of a row
is n^W numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from ..errors import LatticeFlowsError
from ..quadrature import Grid
from ..shapes import Draws, Point
from .answers import EXTENSIVE, Answer, StripAnswers
from .cost import cost
from .derivatives import differences, log_z_derivatives
from .levels import Reshaped, from_narrower, from_nodes
from .node_choice import NodeChoice
from .sampling import StripSampler

MAX_SECONDS = 1800.0  # of one number of nodes
MAX_BYTES = 8e9
MAX_LENGTH = 1024
LEAST_NODES = 5  # of fewer the differences do not tell the error
MOST_NODES = 24
LEAST_WIDTH = 6  # narrower strips have none that is like them
WIDEST_NARROWER = 5  # where far more nodes cost nothing
_GAIN = 0.1  # of narrower strips
# Of the difference between n and n - 1 nodes, which is mostly ten times the error of n.
_KNOWN = 100

Of = Callable[[StripAnswers], Mapping[str, Answer]]
"""Some of the answers, by name."""


class StripSolution:
    """The exact solution of a lattice theory on a torus of two dimensions; all in float64.

    nodes: n of each site; by default as many as `accuracy` (of log Z, and relative of moments)
    needs. magnetization_nodes: those for P(M); by default as many, or fewer where time is short.
    along: the axis from row to row; the longer by default. seconds: that it may take.
    corrected: whether narrower strips tell and take off what the nodes err by; by default from
    six sites on. report: is told what is being done, as it begins. choice: of nodes for the same
    action, if there is one already. After construction `nodes` and `magnetization_nodes` tell the
    nodes, and `narrower` has the narrower strips. Answers are found when they are first asked for;
    `observables` has all of them.

    Raises LatticeFlowsError for lattices that are no torus of two dimensions (or chain), for
    couplings that are invalid, and where one solution would take more than `seconds` or 8 GB: the
    message says how much.
    """

    def __init__(
        self,
        theory: Any,
        couplings: Point,
        *,
        nodes: int | None = None,
        magnetization_nodes: int | None = None,
        along: int | None = None,
        accuracy: float = 1e-7,
        seconds: float = MAX_SECONDS,
        corrected: bool | None = None,
        report: Callable[[str], None] | None = None,
        choice: NodeChoice | None = None,
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
        self._accuracy, self._seconds, self._report = accuracy, seconds, report
        self.length = theory.shape[0]
        self.couplings = couplings._make(map(float, couplings))
        self._stiffness = float(theory.stiffness(self.couplings))
        self._even = bool(theory.is_symmetric(self.couplings))
        if choice is None or not choice.serves(self.width):
            choice = NodeChoice(self._potential, self._stiffness, self.width, self._even)
        self._choice = choice
        self.nodes = self._enough(accuracy, False) if nodes is None else nodes
        self._refuse_dear(self.nodes)
        self.magnetization_nodes = magnetization_nodes or nodes or self._enough(accuracy, True)
        self._known: dict[int, StripAnswers] = {}
        if corrected is None:
            corrected = nodes is None and self.width >= LEAST_WIDTH
        self.narrower = self._narrower(accuracy) if corrected else []

    def _narrower(self, accuracy: float) -> list[StripSolution]:
        """Two narrower strips, the wider first."""
        if self.width < 4:
            raise LatticeFlowsError(
                f"rows of {self.width} sites have no narrower ones that are like them: "
                "leave out `corrected`"
            )
        found = []
        wider = min(self.width - 2, WIDEST_NARROWER)
        for width in (wider, wider - 1):
            shape = (self.rows, width) if self.along == 0 else (width, self.rows)
            found.append(
                StripSolution(
                    Reshaped(self.theory, shape),
                    self.couplings,
                    along=self.along,
                    accuracy=accuracy / 10,
                    seconds=self._seconds / 3,
                    report=self._report,
                    choice=self._choice,
                )
            )
        return found

    def _potential(self, x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        return self.theory.potential(x, self.couplings)

    def _enough(self, accuracy: float, magnetization: bool) -> int:
        """The fewest nodes that are accurate, or the most that can be paid."""
        most = self._seconds / 2 if magnetization else self._seconds
        # Alone, what n - 1 nodes err by is what is told.
        fewer, gain = (0, _GAIN) if self.width >= LEAST_WIDTH else (1, 1.0)
        for n in range(LEAST_NODES, MOST_NODES):
            more = cost(self.rows, self.width, n + 1, magnetization)
            if more.seconds > most or more.gigabytes * 1e9 > MAX_BYTES:
                return n
            if gain * self._error(n - fewer, magnetization) < accuracy:
                return n
        return MOST_NODES

    def _error(self, n: int, magnetization: bool) -> float:
        """What log Z, or relative averages, err by with `n` nodes, about."""
        choice = self._choice.best(n)
        return (
            choice.error if magnetization else max(choice.error, self.theory.sites * choice.log_z)
        )

    @property
    def _alone(self) -> float:
        """What the answers err by without narrower strips, about."""
        return max(self._error(self.nodes, False), self._error(self.magnetization_nodes, True))

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
        levels = 1 if self.narrower else 3
        own = sum(
            cost(self.rows, self.width, n - less, of_m).seconds
            for n, of_m in ((self.nodes, False), (self.magnetization_nodes, True))
            for less in range(levels)
        )
        return own + sum(strip.seconds for strip in self.narrower)

    @property
    def expected_error(self) -> float:
        """What log Z, or relative an average, will be off by, about: from the small torus."""
        return self._alone * (_GAIN if self.narrower else 1)

    # -- answers -----------------------------------------------------------------------------

    def _answers(self, n: int) -> StripAnswers:
        if n not in self._known:
            self._known[n] = StripAnswers(
                self.theory,
                self.couplings,
                self.along,
                self._choice.best(n),
                *self._targets,
                report=self._report,
            )
        return self._known[n]

    @property
    def _targets(self) -> tuple[float, float]:
        """What eigenstates may leave out: of Z, and of ⟨e^{ikM}⟩."""
        accuracy = min(max(self._accuracy, 1e-8), 1e-4)
        return 1e-3 * accuracy, 1e-1 * accuracy

    def _told(self, of: Of, n: int, extensive: Collection[str] = EXTENSIVE) -> dict[str, Answer]:
        """Some of the answers, found with `n` nodes at most, and the sums of their errors.

        extensive: those that grow with the volume.
        """
        if not self.narrower:
            levels = [of(self._answers(n - less)) for less in range(3)]
            return {name: from_nodes([level[name] for level in levels]) for name in levels[0]}
        found = of(self._answers(n))
        shifts = [strip._shift(of, n, extensive, self.theory.sites) for strip in self.narrower]
        return {
            name: from_narrower(at, [shift[name] for shift in shifts]) for name, at in found.items()
        }

    def _shift(self, of: Of, n: int, extensive: Collection[str], sites: int) -> dict[str, Answer]:
        """How far the answers with `n` nodes are from these here; on a lattice of `sites`."""
        found = self._told(of, max(n, self.nodes), extensive)
        here = of(self._answers(n))
        shifts = {}
        for name, (value, error) in found.items():
            scale = sites / self.theory.sites if name in extensive else 1.0
            shifts[name] = scale * (value - here[name][0]), scale * (error + here[name][1])
        return shifts

    def _one(self, answer: Callable[..., Answer], *arguments: Any) -> Answer:
        return self._told(lambda one: {"it": answer(one, *arguments)}, self.nodes)["it"]

    @cached_property
    def _all(self) -> dict[str, Answer]:
        found = self._told(StripAnswers.of_fields, self.nodes)
        found |= self._told(StripAnswers.of_magnetization, self.magnetization_nodes)
        gap, error = self.gap_with_error
        found["energy_gap"] = gap, error
        found["correlation_length"] = 1 / gap, error / gap**2
        found["strip_gap"] = self.strip_gap
        found["strip_log_z_density"] = self.strip_log_z_density
        return found

    @cached_property
    def _log_z(self) -> Answer:
        return self._told(lambda one: {"log_z": one.log_z()}, self.nodes)["log_z"]

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
        return self._one(StripAnswers.log_z_density)

    @property
    def strip_gap(self) -> Answer:
        """(ln κ_0/κ_1, error) of the strip of `width`: the decay along its endless side."""
        return self._one(StripAnswers.gap)

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
                choice=self._choice,
            )
            return across.strip_gap
        except LatticeFlowsError:  # it says what it would take
            return np.nan, np.nan

    def moment(self, power: int) -> float:
        """⟨φ^power⟩ of one site."""
        return self.moment_with_error(power)[0]

    def moment_with_error(self, power: int) -> Answer:
        """(⟨φ^power⟩, error) of one site."""
        return self._one(StripAnswers.moment, power)

    def two_point_with_error(self) -> Answer:
        """(⟨φ_0 φ_x⟩ for every displacement x, error), arrays of the lattice's shape."""
        return self._one(StripAnswers.pairs)

    def correlator(self) -> Float[np.ndarray, " L"]:
        """⟨φ̄_0 φ̄_r⟩ of the means of slices across the first direction, for every r."""
        return self._one(StripAnswers.correlator)[0]

    def connected_correlator(self) -> Float[np.ndarray, " L"]:
        """C(r) = ⟨φ̄_0 φ̄_r⟩ - ⟨φ⟩²."""
        return self.correlator() - self.moment(1) ** 2

    def correlator_gaps(self) -> Float[np.ndarray, " r"]:
        """Δ(r) = arcosh((C(r-1) + C(r+1)) / 2C(r)) for r = 1 … half-way; NaN where not known."""
        value, error = self._one(StripAnswers.correlator)
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
        n = self.magnetization_nodes
        bound = self._answers(n).distribution.bound
        m = np.linspace(-bound, bound, points) if isinstance(points, int) else points
        return m, *self._told(lambda one: {"P": one.density(m)}, n)["P"]

    def log_z_derivatives(self) -> dict[str, Answer]:
        """(∂ log Z, error) by each coupling: -⟨∂S⟩."""
        return self._told(log_z_derivatives, self.nodes, self.couplings._fields)

    def derivatives(self) -> dict[str, dict[str, Answer]]:
        """(∂⟨O⟩, error) by each coupling, of every observable O: five solutions for each."""
        found: dict[str, dict[str, Answer]] = {}
        for coupling in self.couplings._fields:

            def slopes(answers: StripAnswers, coupling: str = coupling) -> dict[str, Answer]:
                return differences(answers, coupling, self._targets)

            found[coupling] = self._told(slopes, self.nodes)
        return found

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
        while n > LEAST_NODES and self._choice.best(n - 1).error * self.theory.sites < 0.01:
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
