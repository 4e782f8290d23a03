"""A scan: every observable at many couplings from one flow, beside exact answers.

On a chain each point carries its exact value, and where one coupling (or several together) varies
along a line, a dense exact curve is kept for the figure. Derivatives with respect to the couplings
that vary, the draws of all points combined at each (ensembles/combine.py), and further points where
they tell most (adaptive.py) are there for the asking.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from lattice_flows.ensembles.blocks import Blocks, Parts
from lattice_flows.ensembles.combine import Reweighted, pool
from lattice_flows.ensembles.ensemble import Ensemble, config_of
from lattice_flows.ensembles.invariance import checked
from lattice_flows.ensembles.results import known, save_results
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.io.netcdf import Variable
from lattice_flows.sampling.adaptive import next_coupling
from lattice_flows.sampling.sampler import Sampler
from observables import Observable, exact_answers, exact_derivatives, quantities
from theories import LatticeFlowsError, Theory

_CURVE_POINTS = 61
# What an adaptive scan looks at: the first of these that the theory has.
_FOLLOWED = ("susceptibility_abs", "second_moment")


@dataclass(frozen=True)
class Scan:
    """What was found at each coupling point, and the exact curve as {name: values} or None.

    results: one report a point, as `measure` prints it, with "exact" ({name: value} or None) and,
        where they were asked for, "derivatives".
    """

    theory: Theory
    results: list[dict[str, Any]]
    curve: Mapping[str, np.ndarray] | None
    provenance: Mapping[str, Any]
    own: Sequence[Observable] = ()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write scan.nc, replacing what was there."""
        curve = {
            f"{name}_curve": Variable(
                ("exact_point",), values, f"exact curve of {name}", group="exact_curve"
            )
            for name, values in (self.curve or {}).items()
        }
        save_results(path, "scan", self.theory, self.results, curve, self.provenance, own=self.own)


def scan(
    sampler: Sampler,
    grid: Sequence[Any],
    key: jax.Array,
    n: int,
    report: Callable[[int, dict[str, float]], None] = lambda done, metrics: None,
    *,
    points: int | None = None,
    combine: bool = False,
    derivatives: bool = False,
    own: Sequence[Observable] = (),
    parts: Parts | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Scan:
    """Draw and measure n configurations at each couplings of `grid`.

    Arguments:
        points: go on with couplings on the line of `grid`, one after the other where they tell
            most, until there are so many.
        combine: measure the draws of all points at each of them.
        derivatives: with respect to the couplings that vary over the grid; of a single point, to
            all that the theory has.
        own: observables of your own, measured beside those of the theory.
        parts: where finished points are kept, and the draws of the present ones (if `combine`, of
            all); what is there already is not drawn again.
        interrupted: asked after each block of draws whether to stop.

    With `combine` the draws of all points are in memory at the end, and a number for each pair of a
    draw and a point.

    Raises LatticeFlowsError if the flow diverges, and for `points` where the grid is not a line;
    Interrupted, what is drawn being kept, where that is asked for.
    """
    theory = sampler.theory
    slopes = _varying(grid) if derivatives else ()
    line = _Line(theory, grid) if points else None
    parts = parts or Parts()
    kept: list[Ensemble] = []
    results: list[dict[str, Any]] = []

    def visit(grid: Sequence[Any]) -> None:
        found: dict[int, dict[str, Any]] = {}
        first = len(results)

        def draw(number: int, line: Mapping[int, float]) -> dict[int, Ensemble]:
            blocks = Blocks(parts.within(f"draws-{number}"), interrupted)
            return sampler.draw_line(
                line,
                grid,
                jax.random.fold_in(key, number),
                n,
                combine,
                blocks,
                lambda done, metrics: report(first + len(found), {"draws": done}),
            )

        # draws that are combined must be independent
        for number, line in enumerate(sampler.lines(grid, alone=combine), start=first):
            known = {index: _load(parts, f"point-{first + index}") for index in line}
            missing = [index for index, result in known.items() if result is None]
            ensembles = draw(number, line) if combine or missing else {}
            for index in missing:
                known[index] = _measure(ensembles[index], () if combine else slopes, own)
                _save(parts, f"point-{first + index}", known[index])
            for index, result in known.items():
                found[index] = result
                report(first + len(found), {"ess": result["ess"]})
            if combine:
                kept.extend(ensembles.values())
            if not combine:
                parts.within(f"draws-{number}").remove()
            if missing and interrupted():
                raise Interrupted
        results.extend(found[index] for index in range(len(grid)))

    visit(grid)
    if line and points:
        while len(results) < points:
            visit([line.next(results)])
        order = np.argsort(line.positions(results), kind="stable")
        results, kept = [results[i] for i in order], [kept[i] for i in order] if kept else []
    if combine:
        found = {i: _load(parts, f"combined-{i}") for i in range(len(kept))}
        missing = [i for i, result in found.items() if result is None]
        together = pool(kept) if missing else None
        for done, i in enumerate(missing, start=len(kept) - len(missing) + 1):
            assert together is not None
            found[i] = _measure(together.at(kept[i].couplings), slopes, own)
            _save(parts, f"combined-{i}", found[i])
            report(done, {"ess": found[i]["ess"]})
            if interrupted():
                raise Interrupted
        results = [found[i] for i in range(len(kept))]
    for result in results:
        result["exact"] = _exact(theory, result, slopes, own)
    provenance = {**sampler.provenance, "combined": combine, "adaptive": points is not None}
    return Scan(theory, results, exact_curve(theory, grid, own), provenance, own)


def _load(parts: Parts, name: str) -> Any:
    """A report that is finished, None if it is not."""
    found = parts.load(name)
    return None if found is None else json.loads(str(found["report"]))


def _save(parts: Parts, name: str, report: Mapping[str, Any]) -> None:
    parts.save(name, {"report": np.array(json.dumps(report))})  # in its order


def _measure(
    ensemble: Ensemble | Reweighted, slopes: Sequence[str], own: Sequence[Observable]
) -> dict[str, Any]:
    """The report of one point, exact answers apart."""
    result = {
        **config_of(ensemble.theory, ensemble.couplings),
        **checked(ensemble, ensemble.measure(own)).as_json(),
    }
    if slopes:
        estimates = ensemble.derivatives(slopes, own)
        result["derivatives"] = {name: value.as_json() for name, value in estimates.items()}
    return result


def _exact(
    theory: Theory, result: Mapping[str, Any], slopes: Sequence[str], own: Sequence[Observable]
) -> dict[str, float | None] | None:
    """The exact value of all that was measured at a point, None where none are known."""
    couplings = theory.from_values(**result["couplings"])
    answers = exact_answers(theory, couplings, own)
    if answers is None:
        return None
    names = [*result["observables"], "log_z"]
    slopes_there = exact_derivatives(theory, couplings, slopes, own) or {}
    return known({**answers, **slopes_there}, [*names, *slopes_there])


def _varying(grid: Sequence[Any]) -> tuple[str, ...]:
    """The couplings that differ over the grid; all, where there is nothing to differ."""
    values = np.array([[float(value) for value in couplings] for couplings in grid])
    varies = np.ptp(values, axis=0) > 0
    names = type(grid[0])._fields
    return tuple(n for n, v in zip(names, varies, strict=True) if v or not varies.any())


class _Line:
    """The straight line from the first to the last couplings of a grid, positions from 0 to 1.

    Raises LatticeFlowsError for couplings that do not lie on one line.
    """

    def __init__(self, theory: Theory, grid: Sequence[Any]) -> None:
        self.theory = theory
        points = np.array([[float(value) for value in couplings] for couplings in grid])
        self.start, self.span = points[0], points[-1] - points[0]
        on_line = self.span.any() and np.allclose(
            self.start + np.outer(self._along(points), self.span), points, rtol=1e-9, atol=1e-12
        )
        if not on_line:
            raise LatticeFlowsError(
                "these couplings do not lie on one line: give a range for one coupling only"
            )

    def _along(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return (points - self.start) @ self.span / (self.span @ self.span)

    def at(self, position: float) -> Any:
        """The couplings there."""
        return self.theory.Couplings(*map(float, self.start + position * self.span))

    def positions(self, results: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Where the points lie, in coupling order."""
        return self._along(np.array([[*r["couplings"].values()] for r in results]))

    def next(self, results: Sequence[Mapping[str, Any]]) -> Any:
        """The couplings to measure after these."""
        followed = next(n for n in _FOLLOWED if n in results[0]["observables"])
        pairs = [r["observables"][followed] for r in results]
        value, stderr = (
            [np.nan if p[k] is None else p[k] for p in pairs] for k in ("value", "stderr")
        )
        ess = [r["ess"] for r in results]
        return self.at(next_coupling(self.positions(results), value, stderr, ess))


def exact_curve(
    theory: Theory, grid: Sequence[Any], own: Sequence[Observable] = ()
) -> dict[str, np.ndarray] | None:
    """Exact observables on a dense line from the first to the last point of a grid on a line.

    None where they are not known all along it.
    """
    try:
        line = _Line(theory, grid)
    except LatticeFlowsError:
        return None
    couplings = [line.at(position) for position in np.linspace(0, 1, _CURVE_POINTS)]
    answers = []
    for point in couplings:
        if (found := exact_answers(theory, point, own)) is None:  # those of mixtures end somewhere
            return None
        answers.append(found)
    curve = {name: np.array([getattr(c, name) for c in couplings]) for name in _varying(grid)}
    names = [name for name in quantities(theory, own).long_names if name in answers[0]]
    return curve | {name: np.array([a[name] for a in answers]) for name in names}
