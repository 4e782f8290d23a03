"""A scan: every observable at many couplings from one flow, beside exact answers.

On a chain each point carries its exact value, and where one coupling (or several together) varies
along a line, a dense exact curve is kept for the figure. Derivatives with respect to the couplings
that vary, the draws of all points combined at each (ensembles/combine.py), and further points where
they tell most (adaptive.py) are there for the asking.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from lattice_flows.ensembles.blocks import Blocks, Parts
from lattice_flows.ensembles.combine import Reweighted, pool
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.invariance import checked
from lattice_flows.ensembles.result import Compared, known
from lattice_flows.ensembles.results_file import save_results
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.io.netcdf import Variable
from lattice_flows.sampling.adaptive import next_coupling
from lattice_flows.sampling.sampler import Sampler
from observables import (
    Estimate,
    Measurement,
    Observable,
    exact_answers,
    exact_derivatives,
    quantities,
)
from theories import LatticeFlowsError, Theory, seconds_of

_CURVE_POINTS = 61
_PATIENCE = 60.0  # seconds for a curve
# What an adaptive scan looks at: the first of these that the theory has.
_FOLLOWED = ("susceptibility_abs", "second_moment")


@dataclass(frozen=True)
class Scan:
    """What was found at each coupling point, and the exact curve as {name: values} or None.

    results: one for each point, in the order of the grid.
    """

    results: Sequence[Compared]
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
        save_results(path, "scan", self.results, curve, self.provenance, own=self.own)


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
    exact: bool = True,
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
        exact: look for exact answers, too; of a torus that takes seconds for each point.
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
    results: list[Compared] = []

    def visit(grid: Sequence[Any]) -> None:
        found: dict[int, Compared] = {}
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
            kept_points = {i: _load(parts, f"point-{first + i}", theory, grid[i]) for i in line}
            missing = [i for i, result in kept_points.items() if result is None]
            ensembles = draw(number, line) if combine or missing else {}
            for index, result in kept_points.items():
                if result is None:
                    result = _measure(ensembles[index], () if combine else slopes, own)
                    _save(parts, f"point-{first + index}", result)
                found[index] = result
                report(first + len(found), {"ess": result.measurement.ess})
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
        results = []
        together = None
        for i, ensemble in enumerate(kept):
            result = _load(parts, f"combined-{i}", theory, ensemble.couplings)
            if result is None:
                together = together or pool(kept)
                result = _measure(together.at(ensemble.couplings), slopes, own)
                _save(parts, f"combined-{i}", result)
                if interrupted():
                    raise Interrupted
            results.append(result)
            report(len(results), {"ess": result.measurement.ess})
    curve = None
    if exact:
        results = [replace(result, exact=_exact(result, slopes, own)) for result in results]
        curve = exact_curve(theory, grid, own)
    provenance = {**sampler.provenance, "combined": combine, "adaptive": points is not None}
    return Scan(results, curve, provenance, own)


def _load(parts: Parts, name: str, theory: Theory, couplings: Any) -> Compared | None:
    """What was found at a point that is finished, None if it is not."""
    found = parts.load(name)
    if found is None:
        return None
    report = json.loads(str(found["report"]))
    slopes = {k: Estimate.from_json(pair) for k, pair in report.get("derivatives", {}).items()}
    return Compared(theory, couplings, Measurement.from_json(report), derivatives=slopes)


def _save(parts: Parts, name: str, result: Compared) -> None:
    parts.save(name, {"report": np.array(json.dumps(result.as_json()))})


def _measure(
    ensemble: Ensemble | Reweighted, slopes: Sequence[str], own: Sequence[Observable]
) -> Compared:
    """What is found at one point, exact answers apart."""
    measurement = checked(ensemble, ensemble.measure(own))
    found = ensemble.derivatives(slopes, own) if slopes else {}
    return Compared(ensemble.theory, ensemble.couplings, measurement, derivatives=found)


def _exact(
    result: Compared, slopes: Sequence[str], own: Sequence[Observable]
) -> dict[str, float] | None:
    """The exact value of all that was measured at a point, None where none are known."""
    theory, couplings = result.theory, result.couplings
    answers = exact_answers(theory, couplings, own)
    if answers is None:
        return None
    there = exact_derivatives(theory, couplings, slopes, own) or {}
    return known({**answers, **there}, [*result.observables, "log_z", *there])


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

    def positions(self, results: Sequence[Compared]) -> NDArray[np.float64]:
        """Where the points lie, in coupling order."""
        return self._along(np.array([[*result.values.values()] for result in results]))

    def next(self, results: Sequence[Compared]) -> Any:
        """The couplings to measure after these."""
        followed = next(name for name in _FOLLOWED if name in results[0].observables)
        value, stderr = np.array([result.observables[followed] for result in results]).T
        ess = [result.measurement.ess for result in results]
        return self.at(next_coupling(self.positions(results), value, stderr, ess))


def exact_curve(
    theory: Theory, grid: Sequence[Any], own: Sequence[Observable] = ()
) -> dict[str, np.ndarray] | None:
    """Exact observables on a dense line from the first to the last point of a grid on a line.

    None where they are not known all along it, and where that would take minutes.
    """
    try:
        line = _Line(theory, grid)
    except LatticeFlowsError:
        return None
    couplings = [line.at(position) for position in np.linspace(0, 1, _CURVE_POINTS)]
    if seconds_of(theory.exact(couplings[0])) * _CURVE_POINTS > _PATIENCE:
        return None
    answers = []
    for point in couplings:
        if (found := exact_answers(theory, point, own)) is None:  # those of mixtures end somewhere
            return None
        answers.append(found)
    curve = {name: np.array([getattr(c, name) for c in couplings]) for name in _varying(grid)}
    names = [name for name in quantities(theory, own).long_names if name in answers[0]]
    return curve | {name: np.array([a[name] for a in answers]) for name in names}
