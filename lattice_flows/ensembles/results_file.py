"""Results at one or more coupling points as a netCDF table."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lattice_flows.ensembles.ensemble import Ensemble, describe, theory_record
from lattice_flows.ensembles.result import UNKNOWN, Measured, Result
from lattice_flows.io.netcdf import Variable, estimate_variables, write_dataset
from observables import Estimate, Measurement, Observable, derivative_names, quantities
from observables.estimate import plain
from observables.mixing import LONG_NAMES as mixing_names

_POINTS = ("coupling_point",)
_NAMES = {
    "correlator": "correlator <phi_0 phi_r>",
    "energy_gap": "log of the ratio of the two largest eigenvalues of the transfer matrix",
    "ess": "effective sample size (Kish) / draws",
    "max_weight_share": "share of the largest weight in their sum",
    "reliable": "error bars can be believed",
    "tau_int": "largest integrated autocorrelation time of the observables, in draws",
    **mixing_names,
    "log_z_error": "log_z, estimate less exact",
    "energy_distance": "squared energy distance between the draws and exact samples",
    "sliced_wasserstein": "sliced Wasserstein distance between the draws and exact samples",
    "hausdorff": "largest distance from the centre of a mode to the draw nearest to it",
}


_INVARIANCE = {
    "statistic": "F of the change of the observables under moves that preserve p",
    "threshold": "F beyond which the draws do not stand for p",
}
_TITLES = {
    "exact-table": "exact answers",
    "observables": "observables",
    "scan": "coupling scan",
}


def save_measurement(
    path: str | os.PathLike[str],
    ensemble: Ensemble,
    measurement: Measurement,
    own: Sequence[Observable] = (),
) -> None:
    """Write what was measured on an ensemble (observables.nc), replacing what was there.

    `own` are the observables of your own that were measured.
    """
    extra = {}
    if mixing := measurement.mixing:
        what = f"autocorrelation time of {mixing.slowest} in draws"
        extra["tau_int"] = Variable((), np.asarray(mixing.tau_int), what)
    result = Measured(ensemble.theory, ensemble.couplings, measurement)
    save_results(path, "observables", [result], extra, ensemble.provenance, own=own)


def save_results(
    path: str | os.PathLike[str],
    kind: str,
    results: Sequence[Result],
    extra: Mapping[str, Variable] | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool | None = None,
    own: Sequence[Observable] = (),
) -> None:
    """Write results of one theory, at one or more coupling points, to a netCDF file of `kind`.

    Dimension `coupling_point` (but for "observables", which are of a single point); a coordinate
    for each coupling, a variable for each estimate (with NAME_stderr, but for exact ones, and
    NAME_exact where the results have exact values) and each number among the details, and the
    `extra` ones. What is not known somewhere is NaN there. `own` are the observables among them
    that are not of the theory.
    """
    theory = results[0].theory
    names: dict[str, str] = {
        **quantities(theory, own).long_names,
        **derivative_names(theory, theory.Couplings._fields, own),
        **_NAMES,
    }
    symbols = {one.name: one.symbol for one in own}
    points = [result.values for result in results]
    variables = {
        name: Variable(
            _POINTS, np.array([p[name] for p in points]), f"coupling {name}", coordinate=True
        )
        for name in points[0]
    }
    for name in results[0].estimates:
        column = [result.estimates[name] for result in results]
        if any(one is not None for one in column):  # draws without weights do not tell Z
            answers = [(result.exact or {}).get(name) for result in results]
            title, symbol = names.get(name) or name, symbols.get(name, "")
            variables |= _estimate(name, column, answers, title, symbol)
    for name in results[0].profiles:
        rows = np.array([result.profiles[name] for result in results])
        variables[name] = Variable((*_POINTS, "separation"), rows, names.get(name, name))
    if kind == "exact-table":
        variables = _accuracies(variables)
    details = [plain(result.details) for result in results]
    for name in dict.fromkeys(name for row in details for name in row):
        values = [row.get(name) for row in details]
        if any(isinstance(value, float | int) for value in values):
            variables[name] = _variable(name, values, names.get(name, name.replace("_", " ")))
    if all("failed" in row for row in details):
        joined = np.array([" ".join(result.failed) for result in results])
        variables["failed_checks"] = Variable(_POINTS, joined, "checks that failed")
    found = [row.get("invariance") or {} for row in details]
    if any(found):
        for key, what in _INVARIANCE.items():
            column = [row.get(key) for row in found]
            variables[f"invariance_{key}"] = _variable(key, column, what)
    config: dict[str, Any] = {"couplings": points}
    if kind == "observables":  # of one ensemble: scalars, as `measure` writes them
        variables = {name: _first(variable) for name, variable in variables.items()}
        draws = {"draws": details[0]["n"]} if "n" in details[0] else {}
        config = {"couplings": points[0]} | draws
    write_dataset(
        path,
        kind,
        {**variables, **(extra or {})},
        title=f"{_TITLES[kind]} of {describe(theory)}",
        config=theory_record(theory) | config,
        references=theory.references,
        attributes=None if provenance is None else {"lf_provenance": dict(provenance)},
        overwrite=overwrite,
    )


def _estimate(
    name: str,
    column: Sequence[Estimate | None],
    exact: Sequence[float | None],
    title: str,
    symbol: str,
) -> dict[str, Variable]:
    there = [one or UNKNOWN for one in column]
    value, stderr = (np.where(np.isfinite(row), row, np.nan) for row in np.array(there).T)
    unknown = all(answer is None for answer in exact)
    answers = None if unknown else np.array(exact, dtype=float)  # None is NaN then
    intervals = {
        kind: np.array([one.intervals.get(kind, (np.nan, np.nan)) for one in there])
        for kind in ("interval_68", "interval_95")
        if any(kind in one.intervals for one in there)
    }
    return estimate_variables(name, value, stderr, title, _POINTS, answers, intervals, symbol)


def _accuracies(variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """Exact values have no standard errors: what they may be off by, where that is anything."""
    found = {name: one for name, one in variables.items() if not name.endswith("_stderr")}
    for name, one in variables.items():
        of = name.removesuffix("_stderr")
        if of != name and np.any(one.data > 0):
            told = dataclasses.replace(one, long_name=f"what {of} may be off by")
            found[f"{of}_accuracy"] = told
    return found


def _first(variable: Variable) -> Variable:
    """The variable at the first coupling point alone."""
    return dataclasses.replace(
        variable, dimensions=variable.dimensions[1:], data=np.asarray(variable.data[0])
    )


def _variable(name: str, values: Sequence[Any], long_name: str) -> Variable:
    data = np.array(values) if all(type(v) is bool for v in values) else np.array(values, float)
    return Variable(_POINTS, data, long_name)
