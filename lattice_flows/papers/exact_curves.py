"""Exact answers at many values of a coupling, where one of them takes minutes.

On a finite lattice they are analytic functions of the couplings. So they are found at the Chebyshev
points of the range alone, and interpolated: the error falls exponentially with the number of
points, and the last quarter of the coefficients of the Chebyshev series tells how large it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import Chebyshev
from numpy.typing import NDArray

from lattice_flows.ensembles.blocks import Parts
from lattice_flows.ensembles.result import exact_result
from lattice_flows.papers.experiment import Settings
from theories import LatticeFlowsError, Theory

_DEGREE = 24  # of 12 an average is off by .03 beside the transition on 8 × 8
_ACCURACY = 3e-3  # of the answers themselves


class Curve(NamedTuple):
    """Values of an answer, and what they may be off by."""

    value: NDArray[np.float64]
    error: NDArray[np.float64]


def exact_curves(
    settings: Settings,
    name: str,
    theory: Theory,
    along: tuple[str, NDArray[np.float64]],
    others: Mapping[str, float],
    answers: Sequence[str],
) -> dict[str, Curve]:
    """Some `answers` at the values of the coupling `along`, between the first and the last of them.

    `others` are the other couplings. What is solved is kept in the folder `name` of the runs.
    """
    coupling, values = along
    low, high = float(values[0]), float(values[-1])
    points = (low + high) / 2 - (high - low) / 2 * np.cos(np.pi * np.arange(_DEGREE + 1) / _DEGREE)
    folder = settings.runs / name
    folder.mkdir(parents=True, exist_ok=True)
    parts, solved = Parts(folder), []
    with settings.progress("exact answers", len(points)) as report:
        for point in points:
            couplings = theory.from_values(**{coupling: float(point)}, **others)
            sides = "x".join(map(str, theory.shape))
            part = f"{sides}-" + "-".join(f"{value:.6g}" for value in couplings)
            found = parts.load(part)
            if found is None:
                found = dict(exact_result(theory, couplings, accuracy=_ACCURACY).answers)
                parts.save(part, found)
            solved.append(found)
            report(len(solved), {})
    return {one: _curve(one, solved, points, values) for one in answers}


def _curve(
    answer: str, solved: Sequence[Mapping[str, Any]], points: NDArray[Any], values: NDArray[Any]
) -> Curve:
    """The curve through the points where the answer is known, to better than its own size.

    NaN beyond the first and the last of them. Raises LatticeFlowsError where it is known at fewer
    than half of the points.
    """
    at = np.array([float(one[answer]) for one in solved])
    errors = np.array([float(one.get(f"{answer}_accuracy", 0.0)) for one in solved])
    known = np.isfinite(at)
    if 2 * known.sum() < len(points):
        raise LatticeFlowsError(f"{answer} is not known well enough: ask for better exact answers")
    degree, domain = int(known.sum()) - 1, [points[0], points[-1]]
    series = Chebyshev.fit(points[known], at[known], degree, domain)
    rest = float(np.sum(np.abs(series.coef[-(degree // 4) :])))
    slack = 1e-9 * (points[-1] - points[0])
    first, *_, last = points[known]
    within = (values >= first - slack) & (values <= last + slack)
    error = np.interp(values, points[known], errors[known]) + rest
    return Curve(np.where(within, series(values), np.nan), np.where(within, error, np.nan))
