"""Exact answers in two dimensions, from the transfer matrix of a strip.

A torus of L × W sites is a chain of L rows, Z = Tr T^L, with T on Gauss nodes at each site of a row
(gauss.py, strip_rows.py). Two things are not exact, and both are told with every number:

- the nodes. Their error falls faster than exponentially in their number n: every answer is computed
  with n - 1, too, and the difference is what that one errs by.
- the eigenstates that are left out, which are bounded (strip_states.py).

There are as many nodes as the accuracy asks for, or as time and memory allow: a function of a row
is n^W numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from .errors import LatticeFlowsError
from .quadrature import Grid
from .shapes import Draws, Point
from .strip_answers import Answer, StripAnswers, oriented, turned
from .strip_nodes import Choice, NodeChoice
from .strip_sampling import StripSampler
from .strip_states import EPSILON

MAX_SECONDS = 600.0
MAX_BYTES = 4e9
MAX_LENGTH = 1024
LEAST_NODES = 4
MOST_NODES = 24
_LARGE = 2 * 10**5
# Of the difference between n and n - 1 nodes, which is mostly ten times the error of n.
_KNOWN = 100


class Cost(NamedTuple):
    """What a number of nodes takes, as it was measured on one core: an upper estimate."""

    seconds: float
    gigabytes: float


def cost(shape: tuple[int, ...], n: int, magnetization: bool) -> Cost:
    """Of `n` nodes a site: of P(M), or of all else."""
    length, width = oriented(shape)
    states = float(n) ** width
    apply = 1e-9 * states * (width * (0.6 * n + 2) + 15)
    steps = 30 * 20 * min(length, 40) if magnetization else 500 + 100 * min(length, 40)
    return Cost(apply * steps, 260e-9 * states)


class StripSolution:
    """The exact solution of a lattice theory on a torus of two dimensions; all in float64.

    nodes: n of each site; by default as many as `accuracy` (of log Z, and relative of moments)
    needs. After construction `nodes` and, fewer where time is short, `magnetization_nodes` tell
    them. Answers are found when they are first asked for; `observables` has all of them.

    Raises LatticeFlowsError for lattices that are no torus of two dimensions (or chain), for
    couplings that are invalid, and where one solution would take more than ten minutes or 4 GB:
    the message says how much.
    """

    def __init__(
        self,
        theory: Any,
        couplings: Point,
        *,
        nodes: int | None = None,
        accuracy: float = 1e-7,
    ) -> None:
        if len(theory.shape) > 2:
            raise LatticeFlowsError(
                f"exact answers are for two dimensions, not for shape {theory.shape}; "
                "give two sides"
            )
        self.length, self.width = oriented(theory.shape)
        if self.length > MAX_LENGTH:
            raise LatticeFlowsError(
                f"exact answers are for sides of {MAX_LENGTH} sites at most, not {self.length}"
            )
        theory.validate(couplings)
        if any(np.ndim(value) for value in couplings):
            raise LatticeFlowsError("exact answers are for one set of couplings, not for arrays")
        self.theory = theory
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
            more = cost(self.theory.shape, n + 1, magnetization)
            if more.seconds > MAX_SECONDS or more.gigabytes * 1e9 > MAX_BYTES:
                return n
            if self._choices(n).error * self.theory.sites < accuracy:
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
        if n < 2:
            raise LatticeFlowsError(f"a site needs 2 nodes or more, not `nodes={n}`")
        need = cost(self.theory.shape, n, False)
        if need.seconds > MAX_SECONDS or need.gigabytes * 1e9 > MAX_BYTES:
            raise LatticeFlowsError(
                f"an exact solution on {self.theory.shape} would take {need.seconds:.2g} seconds "
                f"and {need.gigabytes:.2g} GB with {n} nodes a site: the shorter side is too long"
            )

    # -- answers -----------------------------------------------------------------------------

    def _answers(self, n: int) -> StripAnswers:
        if n not in self._known:
            target = 1e-12 if n**self.width < _LARGE else 1e-8
            self._known[n] = StripAnswers(
                self.theory, self.couplings, self._choices(n), target
            )
        return self._known[n]

    def _told(self, name: str, *arguments: Any, nodes: int | None = None) -> Answer:
        """An answer, and the sum of its errors."""
        n = nodes or self.nodes
        fine, coarse = (getattr(self._answers(m), name)(*arguments) for m in (n, n - 1))
        return _together(fine, coarse)

    @cached_property
    def _all(self) -> dict[str, Answer]:
        n, m = self.nodes, self.magnetization_nodes
        found = {}
        for name, nodes in (("of_fields", n), ("of_magnetization", m)):
            fine, coarse = (getattr(self._answers(k), name)() for k in (nodes, nodes - 1))
            found |= {key: _together(fine[key], coarse[key]) for key in fine}
        gap, error = self.gap
        found["energy_gap"] = gap, error
        found["correlation_length"] = 1 / gap, error / gap**2
        return found

    @cached_property
    def _log_z(self) -> Answer:
        return self._told("log_z")

    @property
    def log_z(self) -> float:
        """log Z, with the measure Π dφ."""
        return self._log_z[0]

    @property
    def log_z_error(self) -> float:
        """What log Z errs by, at most."""
        return self._log_z[1]

    @property
    def strip_log_z_density(self) -> Answer:
        """(log Z per site, error) of the strip of `width` that goes on for ever."""
        return self._told("log_z_density")

    @property
    def strip_gap(self) -> Answer:
        """(ln κ_0/κ_1, error) of the strip of `width`: the decay along its endless side."""
        return self._told("gap")

    @cached_property
    def gap(self) -> Answer:
        """(ln κ_0/κ_1, error) of slices across the first direction; NaN where it is too dear."""
        if not turned(self.theory.shape):
            return self.strip_gap
        other = type(self.theory)(self.theory.shape[::-1][:1] * 2)
        if cost(other.shape, self.nodes, False).seconds > MAX_SECONDS:
            return np.nan, np.nan
        return StripSolution(other, self.couplings, nodes=self.nodes).strip_gap

    def moment(self, power: int) -> Answer:
        """(⟨φ^power⟩, error) of one site."""
        return self._told("moment", power)

    def two_point(self) -> Answer:
        """(⟨φ_0 φ_x⟩ for every displacement x, error), arrays of the lattice's shape."""
        pairs = [self._answers(n).two_point for n in (self.nodes, self.nodes - 1)]
        (fine, error), (coarse, _) = pairs
        return fine, np.abs(fine - coarse) + error

    def correlator(self) -> Float[np.ndarray, " L"]:
        """⟨φ̄_0 φ̄_r⟩ of the means of slices across the first direction, for every r."""
        return self._told("correlator")[0]

    def connected_correlator(self) -> Float[np.ndarray, " L"]:
        """C(r) = ⟨φ̄_0 φ̄_r⟩ - ⟨φ⟩²."""
        return self.correlator() - self.moment(1)[0] ** 2

    def correlator_gaps(self) -> Float[np.ndarray, " r"]:
        """Δ(r) = arcosh((C(r-1) + C(r+1)) / 2C(r)) for r = 1 … half-way; NaN where not known."""
        value, error = self._told("correlator")
        mean, more = self.moment(1)
        connected, error = value - mean**2, error + 2 * abs(mean) * more
        r = np.arange(1, len(value) // 2 + 1)
        bend = connected[r - 1] + connected[(r + 1) % len(value)] - 2 * connected[r]
        lost = (np.abs(connected[r]) < _KNOWN * error[r]) | (bend < _KNOWN * error[r])
        ratio = bend / np.where(lost, np.nan, connected[r])
        return 2 * np.arcsinh(np.sqrt(ratio) / 2)

    def magnetization_distribution(self, points: int = 801) -> tuple[Grid, Grid, Grid]:
        """(M, P(M), error): the probability density of M on a uniform grid of `points` values."""
        n = self.magnetization_nodes
        fine, coarse = (self._answers(m).distribution for m in (n, n - 1))
        m = np.linspace(-fine.bound, fine.bound, points)
        density = fine.density(m)
        inside = np.abs(m) <= coarse.bound
        other = np.where(inside, coarse.density(np.where(inside, m, 0.0)), 0.0)
        rest = fine.error * len(fine.characteristic) / fine.bound
        return m, density, np.abs(density - other) + rest

    def log_z_derivatives(self) -> dict[str, Answer]:
        """(∂ log Z, error) by each coupling: -⟨∂S⟩."""
        return _derivatives(self)

    def observables(self) -> dict[str, Any]:
        """Every exact observable by its usual name; `correlator` is an array, by distance.

        One that is smaller than its error is NaN, and NAME_bound says what it cannot exceed.
        """
        found: dict[str, Any] = {}
        for name, (value, error) in self._all.items():
            found[name] = value
            if np.ndim(value) == 0 and value != 0 and not abs(value) > error:
                found[name] = float("nan")
                found[f"{name}_bound"] = float(abs(value) + error)
        return found

    def errors(self) -> Mapping[str, Any]:
        """What each of the `observables` errs by, at most: of nodes and of eigenstates."""
        return {name: error for name, (_, error) in self._all.items()}

    # -- samples -----------------------------------------------------------------------------

    @cached_property
    def _sampler(self) -> StripSampler:
        """With as few nodes as serve: what they err by is taken off by the weights."""
        n = self.nodes
        while n > LEAST_NODES and self._choices(n - 1).error * self.theory.sites < 0.1:
            n -= 1
        return StripSampler(self._answers(n).states, self._potential, self._stiffness)

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        """n independent configurations from p(φ), exactly; float64."""
        phi = self._sampler.sample(rng, n)
        if len(self.theory.shape) == 1:
            return phi[:, :, 0]
        return phi.transpose(0, 2, 1) if turned(self.theory.shape) else phi


def _together(fine: Answer, coarse: Answer) -> Answer:
    """The finer answer, and its error: of the states left out, and of the nodes."""
    value, error = fine
    nodes = np.abs(value - coarse[0])
    total = nodes + error
    return value, (float(total) if np.ndim(total) == 0 else total)


def _derivatives(solution: StripSolution) -> dict[str, Answer]:
    """-⟨∂S⟩: the action is differentiated by differences of fourth order, with nothing else."""
    theory, at = solution.theory, solution.couplings
    found = {}
    for name, value in at._asdict().items():
        step = 1e-3 * (abs(value) or 1.0)

        def difference(function: Any, name: str = name, value: float = value, h: float = step) -> Any:
            near, far = (
                function(at._replace(**{name: value + s * h}))
                - function(at._replace(**{name: value - s * h}))
                for s in (1, 2)
            )
            return (8 * near - far) / (12 * h)

        def answer(n: int, difference: Any = difference) -> Answer:
            answers = solution._answers(n)
            x = answers.states.nodes.x
            site, error = answers.site(difference(lambda c: theory.potential(x, c)))
            stiffness = float(difference(lambda c: float(theory.stiffness(c))))
            bonds, more = answers.bonds() if stiffness else (0.0, 0.0)
            volume = theory.sites
            rounding = 1e3 * EPSILON * (abs(site) + abs(stiffness * bonds))
            return (
                -volume * (site + stiffness * bonds),
                volume * (error + abs(stiffness) * more + rounding),
            )

        found[name] = _together(answer(solution.nodes), answer(solution.nodes - 1))
    return found
