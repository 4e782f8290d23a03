"""What a file or a run is, and whether it is intact: nothing is computed, nothing changed."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lattice_flows.io import checkpoint
from lattice_flows.io.integrity import Damaged, read_json
from lattice_flows.io.netcdf import Dataset, read_dataset
from lattice_flows.io.provenance import versions
from lattice_flows.runs.run import CHECKPOINT, FINISHED, HISTORY, PROVENANCE, START, Run
from theories.errors import LatticeFlowsError

_SIZES = ("coupling_point", "exact_point", "chain", "draw", "distance", "row")


def describe_path(path: str | os.PathLike) -> dict[str, Any]:
    """What stands at a path.

    Keys: path, kind, intact (True, False, or None where the file has nothing to check it by),
    damage (what is wrong, in words), theory, shape, couplings, sizes, reliable, failed (checks),
    source and created, versions (of the process that wrote it), running (the versions here, where
    they differ). Of runs: steps, done, finished, restarts. What does not apply is left out.

    Raises LatticeFlowsError where nothing of lattice-flows stands there. What is damaged beyond
    reading is told as damage.
    """
    path = Path(path)
    if path.is_dir():
        return _of_run(path)
    try:
        return _of_file(read_dataset(path, lazy=("configuration",)))
    except LatticeFlowsError as error:
        if not isinstance(error.__cause__, Damaged):
            raise
        return {"path": str(path), "kind": "file", "intact": False, "damage": [str(error)]}


def _of_file(dataset: Dataset) -> dict[str, Any]:
    config = dataset.json("lf_config")
    found = {
        "path": str(dataset.path),
        "kind": dataset.attributes["lf_format"],
        "intact": dataset.sealed or None,
        "damage": [],
        **{k: config[k] for k in ("theory", "shape", "experiment") if k in config},
        "couplings": _couplings(dataset, config.get("couplings")),
        "sizes": _sizes(dataset),
        "source": dataset.attributes.get("source"),
        "created": dataset.attributes.get("date_created"),
    }
    if "reliable" in dataset:
        reliable = np.atleast_1d(dataset["reliable"])
        found["reliable"] = bool(reliable.all())
        if not reliable.all() and reliable.size > 1:
            found["unreliable_points"] = int((~reliable.astype(bool)).sum())
    if "failed_checks" in dataset:
        named = " ".join(map(str, np.ravel(dataset["failed_checks"]))).split()
        found["failed"] = sorted(set(named))
    process = dataset.json("lf_process") if "lf_process" in dataset.attributes else {}
    return _plain(found | _versions(process))


def _couplings(dataset: Dataset, points: Any) -> Any:
    """A value for each coupling, or the [least, greatest] over the points of a table.

    Coordinates count: a program that slices or joins tables leaves the configuration as it was.
    """
    numbers = isinstance(points, list) and all(
        isinstance(p, dict) and all(isinstance(x, int | float) for x in p.values()) for p in points
    )
    if not numbers or any(p.keys() != points[0].keys() for p in points):
        return points
    found: dict[str, Any] = {}
    for name in points[0] if points else ():
        values = [point[name] for point in points]
        coordinate = dataset.get(name)
        if coordinate is not None and np.size(coordinate):
            values = np.ravel(coordinate).tolist()
        found[name] = values[0] if min(values) == max(values) else [min(values), max(values)]
    return found


def _sizes(dataset: Dataset) -> dict[str, int]:
    """The lengths of the dimensions that count something."""
    found: dict[str, int] = {}
    for variable in dataset.variables.values():
        found |= zip(variable.dimensions, np.shape(variable.data), strict=True)
    return {name: found[name] for name in _SIZES if name in found}


def _of_run(path: Path) -> dict[str, Any]:
    run = Run.open(path)
    damage = []

    def checked(name: str, look: Callable[[Path], Any]) -> Any:
        """What `look` finds in a file of the run, None where it is missing or damaged."""
        file = path / name
        if not file.exists():
            return None
        try:
            return look(file)
        except (LatticeFlowsError, ValueError, OSError) as error:
            damage.append(f"{file}: {error}".replace(f"{file}: {file}", str(file)))
            return None

    state = checked(CHECKPOINT, lambda file: checkpoint.inspect(file, run.digest))
    checked(START, lambda file: checkpoint.names(file, run.digest))
    came_from = checked(PROVENANCE, read_json)
    end = checked(FINISHED, read_json)
    records, torn = run.read_history()
    if torn:
        damage.append(f"{path / HISTORY}: {torn} lines damaged or cut short")
    provenance: Mapping[str, Any] = came_from[0] if came_from else {}
    sealed = state is None or state["sealed"]
    return _plain(
        {
            "path": str(path),
            "kind": "run",
            "intact": False if damage else (True if sealed else None),
            "damage": damage,
            "theory": run.config.theory,
            "shape": list(run.config.shape),
            "couplings": run.config.couplings,
            "objective": run.config.objective,
            "steps": run.config.steps,
            "done": state["step"] if state else 0,
            "finished": end is not None,
            "restarts": len(provenance.get("restarts", [])),
            "last": records[-1] if records else None,
            "source": provenance.get("source"),
            "created": provenance.get("date_created"),
            **_versions(provenance),
        }
    )


def _versions(process: Mapping[str, Any]) -> dict[str, Any]:
    """The versions of the process that wrote a file, and those here that differ."""
    then, now = process.get("versions"), versions()
    if not isinstance(then, dict):
        return {}
    return {"versions": then, "running": {k: now.get(k) for k in then if then[k] != now.get(k)}}


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it, without what does not apply."""
    return json.loads(
        json.dumps({k: v for k, v in found.items() if v is not None or k == "intact"}, default=str)
    )
