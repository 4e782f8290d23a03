"""What a file must hold for a figure of it to be true: kinds, dimensions and finite numbers.

A figure of a damaged or foreign file would look like one of a sound one. What is only missing is
told where it is looked up.
"""

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import theories
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.rows import slices
from lattice_flows.figures.style import coupling_names, estimated
from lattice_flows.io.netcdf import Dataset
from theories.errors import LatticeFlowsError

_LARGEST = 1e100  # of a number in a figure


def check(dataset: Dataset) -> None:
    """Raise LatticeFlowsError where a scan, an ensemble or observables are not what they say."""
    config = dataset.json("lf_config")
    if not isinstance(config, dict) or not isinstance(config.get("theory"), str):
        _refuse(dataset, "it does not say which theory it is of")
    theories.make(config["theory"], _shape(dataset, config.get("shape")), config.get("theory_from"))
    kind = dataset.attributes["lf_format"]
    dimensions = ("coupling_point",) if kind == "scan" else ()
    for name in coupling_names(dataset):
        if not np.all(_finite(_numbers(dataset, name, dimensions))):
            _refuse(dataset, f"{name} is not finite")
    if kind == "ensemble":
        _check_ensemble(dataset)
    else:
        _check_estimates(dataset, dimensions)
        _check_curves(dataset)
    if "lf_provenance" in dataset.attributes and not isinstance(
        dataset.json("lf_provenance"), dict
    ):
        _refuse(dataset, "its provenance is not a record")


def _refuse(dataset: Dataset, why: str) -> NoReturn:
    raise LatticeFlowsError(f"{dataset.path} is damaged or incomplete ({why}): write it again")


def _shape(dataset: Dataset, shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(side) is int for side in shape):
        _refuse(dataset, "it does not say of which lattice it is")
    return tuple(shape)


def _finite(x: NDArray[Any]) -> NDArray[np.bool_]:
    return np.abs(x) < _LARGEST  # false for NaN


def _numbers(dataset: Dataset, name: str, dimensions: tuple[str, ...]) -> NDArray[Any]:
    """The data of a variable of numbers with these dimensions."""
    data = np.asarray(dataset[name])
    if data.dtype.kind not in "fiub":
        _refuse(dataset, f"{name} does not hold numbers")
    found = dataset.variables[name].dimensions
    if found != dimensions or not data.size:
        _refuse(dataset, f"{name} has dimensions {found}, not {dimensions}")
    return data


def _check_ensemble(dataset: Dataset) -> None:
    """What `Ensemble` does not refuse: too few draws, and numbers that no axis shows."""
    ensemble = Ensemble.read(dataset)
    if len(ensemble) < 2:
        _refuse(dataset, "it has fewer than two draws")
    if not all(np.all(_finite(phi)) for phi in slices(ensemble.configurations)):
        _refuse(dataset, "configuration is not finite")
    if ensemble.log_weights is not None and not np.all(_finite(ensemble.log_weights)):
        _refuse(dataset, "log_weight is not finite")


def _check_estimates(dataset: Dataset, dimensions: tuple[str, ...]) -> None:
    """Believed numbers are finite, errors not negative; NaN is for what is not known."""
    names = estimated(dataset)
    if not names:
        _refuse(dataset, "it has no observables")
    ess = _numbers(dataset, "ess", dimensions) if dimensions or "ess" in dataset else np.ones(())
    if not np.all((ess >= 0) & (ess <= 1 + 1e-9)):
        _refuse(dataset, "ess is not between 0 and 1")
    believed = np.ones(ess.shape, dtype=bool)
    if "reliable" in dataset:
        believed = _numbers(dataset, "reliable", dimensions)
        if believed.dtype != bool:
            _refuse(dataset, "reliable is neither true nor false")
    for name in names:
        value = _numbers(dataset, name, dimensions)
        stderr = _numbers(dataset, f"{name}_stderr", dimensions)
        if np.any(stderr < 0):
            _refuse(dataset, f"{name}_stderr is negative")
        if not np.all(np.isnan(value) | _finite(value)):
            _refuse(dataset, f"{name} is not finite")
        # χ = 0 and ⟨M⟩ = 0 are possible; a value that is relied on but not there is not
        if name != "log_z" and np.any(np.isnan(value) & believed):
            _refuse(dataset, f"{name} is not known where it is said to be reliable")
        if f"{name}_exact" in dataset:
            exact = _numbers(dataset, f"{name}_exact", dimensions)
            if not np.all(np.isnan(exact) | _finite(exact)):
                _refuse(dataset, f"{name}_exact is not finite")


def _check_curves(dataset: Dataset) -> None:
    for name in dataset.variables:
        if name.endswith("_curve") and not np.all(
            _finite(_numbers(dataset, name, ("exact_point",)))
        ):
            _refuse(dataset, f"{name} is not finite")
