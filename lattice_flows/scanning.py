"""A scan: every observable at many couplings from one flow, beside exact answers.

On a chain each point carries its exact value, and where one coupling (or several together) varies
along a line, a dense exact curve is kept for the figure.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from lattice_flows.ensemble import config_of
from lattice_flows.files import Variable
from lattice_flows.results import save_results
from lattice_flows.sampler import Sampler
from observables import quantities
from theories import Theory

_CURVE_POINTS = 61


@dataclass(frozen=True)
class Scan:
    """What was found at each coupling point, and the exact curve as {name: values} or None.

    results: one report a point, as `measure` prints it, with "exact" ({name: value} or None).
    """

    theory: Theory
    results: list[dict[str, Any]]
    curve: Mapping[str, np.ndarray] | None
    provenance: Mapping[str, Any]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write scan.nc, replacing what was there."""
        curve = {
            f"{name}_curve": Variable(("exact_point",), values, f"exact curve of {name}")
            for name, values in (self.curve or {}).items()
        }
        save_results(path, "scan", self.theory, self.results, curve, self.provenance)


def scan(
    sampler: Sampler,
    grid: Sequence[Any],
    key: jax.Array,
    n: int,
    report: Callable[[int, dict[str, float]], None] = lambda done, metrics: None,
) -> Scan:
    """Draw and measure n configurations at each couplings of `grid`."""
    results = []
    for i, couplings in enumerate(grid):
        measurement = sampler.draw(couplings, jax.random.fold_in(key, i), n).measure()
        exact = sampler.theory.exact(couplings)
        answers = exact.observables() if exact else None
        names = [*measurement.observables, "log_z"]
        results.append(
            {
                **config_of(sampler.theory, couplings),
                **measurement.as_json(),
                "exact": answers and {name: float(answers[name]) for name in names},
            }
        )
        report(i + 1, {"ess": measurement.ess})
    return Scan(sampler.theory, results, _exact_curve(sampler.theory, grid), sampler.provenance)


def _exact_curve(theory: Theory, grid: Sequence[Any]) -> dict[str, np.ndarray] | None:
    """Exact observables on a dense line from the first to the last point of a grid on a line."""
    points = np.array([[float(value) for value in couplings] for couplings in grid])
    steps = np.linspace(0, 1, _CURVE_POINTS)
    span = points[-1] - points[0]
    if not span.any() or theory.exact(grid[0]) is None:
        return None
    along = (points - points[0]) @ span / (span @ span)
    if not np.allclose(points[0] + np.outer(along, span), points, rtol=1e-9, atol=1e-12):
        return None
    line = points[0] + np.outer(steps, span)
    answers = []
    for values in line:
        exact = theory.exact(theory.Couplings(*map(float, values)))
        assert exact is not None  # a chain
        answers.append(exact.observables())
    names = quantities(theory).long_names
    curve = {name: line[:, i] for i, name in enumerate(theory.Couplings._fields) if span[i] != 0}
    return curve | {name: np.array([a[name] for a in answers]) for name in names}
