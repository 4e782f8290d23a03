"""netCDF files: self-describing, checked as they are read, refused with one clear line.

netCDF-4 in the style of CF-1.11/ACDD-1.3, readable by `xarray.open_dataset` with no code of ours.
Global attributes of ours: `lf_format` (what the file holds), `lf_format_version`, and as JSON
`lf_config` (theory, shape, couplings) and `lf_process` (what the process that wrote it ran on).
Every file is written whole or not at all (atomic.py) and ends in a seal (integrity.py); arrays are
chunked, with a Fletcher checksum for each chunk.

Arrays that are large, or not in memory at all, go to the disk in pieces, and may stay there when a
file is read.
"""

import contextlib
import errno
import json
import logging
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lattice_flows.io.atomic import atomic_write, refuse_existing
from lattice_flows.io.integrity import Damaged, is_sealed, seal
from lattice_flows.io.provenance import origin, provenance, to_json
from lattice_flows.io.stored import FLAG, PIECE, Lazy, StoredArray, open_netcdf, store
from theories.errors import LatticeFlowsError

__all__ = [
    "FORMAT_VERSION",
    "Dataset",
    "StoredArray",
    "Variable",
    "atomic_write",
    "estimate_variables",
    "provenance",
    "read_dataset",
    "refuse_existing",
    "to_json",
    "write_dataset",
]

FORMAT_VERSION = 2  # 1 had neither seal nor checksums

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variable:
    """A netCDF variable: one dimension name per axis, data, and what it is.

    Data may be float, integer, names, or boolean (stored as 0 and 1 with CF flag meanings); in
    memory, or anything `Lazy`. A `group` keeps apart what has dimensions of its own: netCDF
    programs that look at the top of a file alone see nothing of it. Names are unique in the file
    all the same. A `coordinate`, such as a coupling, says where the others were taken: they name it
    in their attribute `coordinates` (CF-1.11, section 5).
    """

    dimensions: tuple[str, ...]
    data: Any
    long_name: str
    units: str = "1"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    coordinate: bool = False


_RECORDS = ("lf_config", "lf_provenance", "lf_process")


@dataclass(frozen=True)
class Dataset:
    """A file read: variables by name, and global attributes. `dataset["name"]` is the data.

    sealed: it was checked that the bytes are those that were written.
    """

    path: Path
    variables: dict[str, Variable]
    attributes: dict[str, Any]
    sealed: bool = False

    def __contains__(self, name: str) -> bool:
        return name in self.variables

    def __getitem__(self, name: str) -> Any:
        if name not in self.variables:
            raise LatticeFlowsError(f"{self.path} has no variable {name!r}: write the file again")
        return self.variables[name].data

    def get(self, name: str) -> Any:
        """The data of a variable, or None if the file does not have it."""
        variable = self.variables.get(name)
        return None if variable is None else variable.data

    def json(self, attribute: str) -> Any:
        """A global attribute that holds JSON, decoded; LatticeFlowsError if it does not."""
        try:
            found = json.loads(self.attributes[attribute])
            if attribute in _RECORDS and not isinstance(found, dict):
                raise TypeError("not a record")
            return found
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise LatticeFlowsError(
                f"{self.path} has no readable attribute {attribute!r}: write the file again"
            ) from error


def estimate_variables(
    name: str,
    value: ArrayLike,
    stderr: ArrayLike,
    long_name: str,
    dimensions: tuple[str, ...] = (),
    exact: ArrayLike | None = None,
    intervals: Mapping[str, ArrayLike] | None = None,
    symbol: str = "",
) -> dict[str, Variable]:
    """NAME and NAME_stderr (and NAME_exact, where known): how every estimate is stored.

    `intervals`: by "interval_68" and "interval_95" their ends, along a last dimension `bound`.
    `symbol`: in LaTeX, of what no figure knows.
    """
    told = {"symbol": symbol} if symbol else {}
    variables = {
        name: Variable(dimensions, np.asarray(value), long_name, attributes=told),
        f"{name}_stderr": Variable(dimensions, np.asarray(stderr), f"standard error of {name}"),
    }
    if exact is not None:
        variables[f"{name}_exact"] = Variable(dimensions, np.asarray(exact), f"exact {long_name}")
    for kind, ends in (intervals or {}).items():
        title = f"ends of the {kind.removeprefix('interval_')} % confidence interval of {name}"
        variables[f"{name}_{kind}"] = Variable((*dimensions, "bound"), np.asarray(ends), title)
    return variables


def write_dataset(
    path: str | os.PathLike,
    kind: str,
    variables: Mapping[str, Variable],
    *,
    title: str,
    config: Mapping[str, Any],
    references: str = "",
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool | None = None,
) -> None:
    """Write a netCDF file of `kind` ("ensemble", "scan", "observables", "exact-table"), atomically.

    `config` is stored as JSON in `lf_config`: theory, shape and whatever made the file. Attributes
    that netCDF has no type for (None, booleans, lists, dicts) are stored as JSON. NAME_stderr (and
    any NAME_exact) is linked to NAME by `ancillary_variables`. Without `overwrite` a file that
    stands at `path` by the end is left alone (see `atomic_write`).

    Raises LatticeFlowsError as `atomic_write` does.
    """
    header = {
        "Conventions": "CF-1.11, ACDD-1.3",
        "title": title,
        **provenance(),
        "references": references,
        "lf_process": origin(),
        "lf_format": kind,
        "lf_format_version": FORMAT_VERSION,
        "lf_config": dict(config),
        **(attributes or {}),
    }
    atomic_write(path, lambda temporary: _write(temporary, variables, header), overwrite)


def read_dataset(path: str | os.PathLike, *kinds: str, lazy: Collection[str] = ()) -> Dataset:
    """Read a file that `write_dataset` wrote, of one of `kinds` (any, if none is given).

    The `lazy` variables stay on the disk, as a `StoredArray`. The file is read once from end to end
    to compare it with its seal; one without a seal is told in the log.

    Raises LatticeFlowsError for a file that is missing, truncated, damaged, foreign, of another
    kind, or written by a newer version.
    """
    path = Path(path)
    if not path.is_file():
        state = "is not a file" if path.exists() else "does not exist"
        raise LatticeFlowsError(f"{path} {state}: give the name of a netCDF file")
    try:
        sealed = is_sealed(path)  # before HDF5, which damaged bytes can bring down
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_netcdf(path, "r"))
            attributes = {name: file.getncattr(name) for name in file.ncattrs()}
            _check_format(path, attributes, kinds)
            variables = {
                name: _decode_variable(path, stored, group.name.strip("/"), name in lazy)
                for group in (file, *file.groups.values())
                for name, stored in group.variables.items()
            }
            if not variables.keys().isdisjoint(lazy):
                stack.pop_all()  # the file is closed with the last of its stored arrays
    except (LatticeFlowsError, ImportError):
        raise
    except MemoryError as error:
        raise LatticeFlowsError(f"{path} does not fit in memory, or is damaged") from error
    except Damaged as error:
        raise LatticeFlowsError(f"{path} is damaged: {error}; copy or write it again") from error
    except PermissionError as error:
        raise LatticeFlowsError(f"{path} is not readable: {os.strerror(errno.EACCES)}") from error
    except Exception as error:  # nearly all kinds, for bytes that are not netCDF
        raise LatticeFlowsError(
            f"{path} is not a netCDF file, or only a part of one: write or copy it again"
        ) from error
    if not sealed:
        log.warning(_unsealed(path, attributes))
    return Dataset(path, variables, attributes, sealed)


def _unsealed(path: Path, attributes: Mapping[str, Any]) -> str:
    if attributes["lf_format_version"] < 2:
        return f"{path} is from before files were sealed: damage to it would not be noticed"
    return f"{path} was changed by another program: damage to it would not be noticed"


def _check_format(path: Path, attributes: Mapping[str, Any], kinds: tuple[str, ...]) -> None:
    kind, version = attributes.get("lf_format"), attributes.get("lf_format_version")
    if not isinstance(kind, str) or not isinstance(version, (int, np.integer)):
        raise LatticeFlowsError(f"{path} was not written by lattice-flows: give one of its files")
    if version > FORMAT_VERSION:
        raise LatticeFlowsError(
            f"{path} was written by a newer lattice-flows (format {version}, this one reads up to "
            f"{FORMAT_VERSION}): upgrade lattice-flows"
        )
    if kinds and kind not in kinds:
        raise LatticeFlowsError(f"{path} holds {kind!r}, but {' or '.join(kinds)} is needed here")


def _write(path: Path, variables: Mapping[str, Variable], header: Mapping[str, Any]) -> None:
    """Write variables and attributes, and seal the file."""
    try:
        file = open_netcdf(path, "w")
        try:
            for name, value in header.items():
                file.setncattr(name, _encode_attribute(value))
            for name, variable in variables.items():
                _write_variable(file, name, variable, variables)
        finally:
            file.close()
    except (OSError, RuntimeError) as error:
        if "NetCDF" in str(error):  # HDF5 keeps to itself what the system told it
            _fill_up(path, sum(_bytes(variable.data) for variable in variables.values()))
            raise OSError(str(error)) from error
        raise
    seal(path)


def _write_variable(
    file: Any, name: str, variable: Variable, variables: Mapping[str, Variable]
) -> None:
    data = variable.data if isinstance(variable.data, Lazy) else np.asarray(variable.data)
    dtype, shape = np.dtype(data.dtype), data.shape
    attributes = {"long_name": variable.long_name, "units": variable.units}
    if dtype.kind == "b":
        attributes = {"long_name": variable.long_name, **FLAG}
    if dtype.kind == "U":  # names have no units
        del attributes["units"]
    ancillary = [
        f"{name}_{part}"
        for part in ("stderr", "accuracy", "exact")
        if f"{name}_{part}" in variables
    ]
    if ancillary:
        attributes["ancillary_variables"] = " ".join(ancillary)
    if len(shape) != len(variable.dimensions):
        raise ValueError(f"{name}: {len(shape)} axes, but dimensions {variable.dimensions}")
    places = [
        key
        for key, other in variables.items()
        if other.coordinate and set(other.dimensions) <= set(variable.dimensions)
    ]
    if places and not (variable.coordinate or variable.group or name in variable.dimensions):
        attributes["coordinates"] = " ".join(places)
    group = file.createGroup(variable.group) if variable.group else file
    for dimension, size in zip(variable.dimensions, shape, strict=True):
        if dimension not in group.dimensions:
            group.createDimension(dimension, size)
        if len(group.dimensions[dimension]) != size:
            raise ValueError(f"{name}: dimension {dimension} has two sizes")
    attributes |= {key: _encode_attribute(v) for key, v in variable.attributes.items()}
    store(group, name, variable.dimensions, data, attributes)


def _decode_variable(path: Path, stored: Any, group: str, lazy: bool) -> Variable:
    attributes = {name: stored.getncattr(name) for name in stored.ncattrs()}
    array = StoredArray(path, stored)
    long_name, units = attributes.pop("long_name", stored.name), attributes.pop("units", "1")
    data = array if lazy else np.asarray(array)
    return Variable(stored.dimensions, data, long_name, units, attributes, group)


def _encode_attribute(value: Any) -> Any:
    if isinstance(value, (int, float, np.number, np.ndarray)) and not isinstance(value, bool):
        return value
    text = value if isinstance(value, str) else to_json(value)
    # names of files that are not text: JSON reads them back as they were
    return text.encode(errors="backslashreplace").decode()


def _bytes(data: Any) -> int:
    return math.prod(np.shape(data)) * np.dtype(getattr(data, "dtype", float)).itemsize


def _fill_up(path: Path, size: int) -> None:
    """Write `size` bytes plainly: a full disk raises the OSError that names it."""
    with open(path, "ab") as file:
        for _ in range(size // PIECE + 1):
            file.write(bytes(PIECE))
