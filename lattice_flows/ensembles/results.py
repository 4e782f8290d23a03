"""Results at coupling points, in the one form that every report has, as netCDF tables.

A result is the JSON object that `exact`, `evaluate` and `measure` print: theory, shape, couplings,
observables and log_z as {"value", "stderr"} pairs, ess, max_weight_share, reliable, and more.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lattice_flows.ensembles.ensemble import Ensemble, config_of, describe, theory_record
from lattice_flows.io.netcdf import Variable, estimate_variables, write_dataset
from observables import Measurement, Observable, derivative_names, exact_answers, quantities
from observables.mixing import LONG_NAMES as mixing_names
from theories import LatticeFlowsError, LatticeTheory, Theory

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


def exact_result(theory: Theory, couplings: Any) -> dict[str, Any]:
    """The exact answers at one coupling point, errors 0.

    What is lost in rounding errors is None, and the result has NAME_bound of it. There is no
    ensemble, so `ess` and `max_weight_share` are None.
    Raises LatticeFlowsError where none are known, as on lattices of more than one dimension.
    """
    answers = exact_answers(theory, couplings)
    if answers is None:
        raise LatticeFlowsError(
            f"no exact answer is known for {describe(theory)} here: {_remedy(theory)}"
        )
    log_z = answers.pop("log_z")
    bounds = {name: answers.pop(name) for name in list(answers) if name.endswith("_bound")}
    return {
        "theory": theory.name,
        "shape": list(theory.shape),
        "couplings": {name: float(value) for name, value in couplings._asdict().items()},
        "observables": {
            name: {"value": None, "stderr": None}
            if np.isnan(value).any()
            else {
                "value": np.asarray(value).tolist(),
                "stderr": np.zeros(np.shape(value)).tolist(),
            }
            for name, value in answers.items()
        },
        "log_z": {"value": float(log_z), "stderr": 0.0},
        **bounds,
        "ess": None,
        "max_weight_share": None,
        "reliable": True,
    }


def known(answers: Mapping[str, Any], names: Iterable[str]) -> dict[str, float | None]:
    """The exact answers of these names; None where there is none, or rounding errors hide it."""
    there = {name: float(answers.get(name, np.nan)) for name in names}
    return {name: None if np.isnan(value) else value for name, value in there.items()}


def measured(ensemble: Ensemble, measurement: Measurement) -> dict[str, Any]:
    """The result of a measurement."""
    return {**config_of(ensemble.theory, ensemble.couplings), **measurement.as_json()}


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
    save_results(
        path,
        "observables",
        ensemble.theory,
        [measured(ensemble, measurement)],
        extra,
        ensemble.provenance,
        own=own,
    )


def _remedy(theory: Theory) -> str:
    if isinstance(theory, LatticeTheory):
        return "of lattices for chains only (and the free field), give a single number of sites"
    return "give couplings nearer to their defaults"


def save_results(
    path: str | os.PathLike[str],
    kind: str,
    theory: Theory,
    results: Sequence[Mapping[str, Any]],
    extra: Mapping[str, Variable] | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool | None = None,
    own: Sequence[Observable] = (),
) -> None:
    """Write results of one theory, at one or more coupling points, to a netCDF file of `kind`.

    Dimension `coupling_point` (but for "observables", which are of a single point); a coordinate
    for each coupling, a variable for each observable and derivative (with NAME_stderr, but for
    exact ones, and NAME_exact where the results have "exact") and each number that the results
    hold, and the `extra` ones. What is None somewhere is NaN there. `own` are the observables among
    them that are not of the theory.
    """
    names: dict[str, str] = {
        **quantities(theory, own).long_names,
        **derivative_names(theory, theory.Couplings._fields, own),
        **_NAMES,
    }
    symbols = {one.name: one.symbol for one in own}
    variables = {
        name: Variable(
            _POINTS,
            np.array([r["couplings"][name] for r in results], float),
            f"coupling {name}",
            coordinate=True,
        )
        for name in results[0]["couplings"]
    }
    estimates = [
        {**r["observables"], "log_z": r["log_z"], **r.get("derivatives", {})} for r in results
    ]
    exact = [r.get("exact") or {} for r in results]
    for name in estimates[0]:
        if all(row[name] is None for row in estimates):  # draws without weights do not tell Z
            continue
        pairs = [row[name] or {"value": None, "stderr": None} for row in estimates]
        answers = [row.get(name) for row in exact]
        symbol = symbols.get(name, "")
        variables |= _estimate(name, pairs, answers, names.get(name) or name, symbol)
        if kind == "exact-table":  # the value itself is the exact one
            del variables[f"{name}_stderr"]
    for name in dict.fromkeys(name for r in results for name in r):
        values = [r.get(name) for r in results]
        if any(isinstance(v, float | int) for v in values):
            variables[name] = _variable(name, values, names.get(name, name.replace("_", " ")))
    if all("failed" in r for r in results):
        joined = np.array([" ".join(r["failed"]) for r in results])
        variables["failed_checks"] = Variable(_POINTS, joined, "checks that failed")
    found = [r.get("invariance") or {} for r in results]
    if any(found):
        for key, what in _INVARIANCE.items():
            column = [row.get(key) for row in found]
            variables[f"invariance_{key}"] = _variable(key, column, what)
    draws: dict[str, Any] = {}
    points: Any = [dict(r["couplings"]) for r in results]
    if kind == "observables":  # of one ensemble: scalars, as `measure` writes them
        variables = {name: _first(variable) for name, variable in variables.items()}
        (points,) = points
        draws = {"draws": results[0]["n"]} if "n" in results[0] else {}
    write_dataset(
        path,
        kind,
        {**variables, **(extra or {})},
        title=f"{_TITLES[kind]} of {describe(theory)}",
        config=theory_record(theory) | {"couplings": points} | draws,
        references=theory.references,
        attributes=None if provenance is None else {"lf_provenance": dict(provenance)},
        overwrite=overwrite,
    )


def _estimate(
    name: str,
    pairs: Sequence[Mapping[str, Any]],
    exact: Sequence[float | None],
    title: str,
    symbol: str,
) -> dict[str, Variable]:
    value, stderr = (np.array([p[k] for p in pairs], dtype=float) for k in ("value", "stderr"))
    dimensions = _POINTS if value.ndim == 1 else (*_POINTS, "separation")
    unknown = all(answer is None for answer in exact)
    answers = None if unknown else np.array(exact, dtype=float)  # None is NaN then
    intervals = {
        kind: np.array([p.get(kind) or (np.nan, np.nan) for p in pairs], dtype=float)
        for kind in ("interval_68", "interval_95")
        if any(p.get(kind) for p in pairs)
    }
    return estimate_variables(name, value, stderr, title, dimensions, answers, intervals, symbol)


def _first(variable: Variable) -> Variable:
    """The variable at the first coupling point alone."""
    return dataclasses.replace(
        variable, dimensions=variable.dimensions[1:], data=np.asarray(variable.data[0])
    )


def _variable(name: str, values: Sequence[Any], long_name: str) -> Variable:
    data = np.array(values) if all(type(v) is bool for v in values) else np.array(values, float)
    return Variable(_POINTS, data, long_name)
