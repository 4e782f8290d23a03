"""Files: written whole or not at all, self-describing, refused with one clear line when unreadable.

Everything goes through `atomic_write`: a temporary file in the same directory, fsync, os.replace,
fsync of the directory. A job killed at any moment leaves the old file or the new one.

netCDF-4 in the style of CF-1.11/ACDD-1.3, readable by `xarray.open_dataset` with no code of ours.
Global attributes of ours: `lf_format` (what the file holds), `lf_format_version`, `lf_config`
(JSON).
"""

import contextlib
import errno
import functools
import json
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lattice_flows.interrupt import writing
from theories.errors import LatticeFlowsError

FORMAT_VERSION = 1
_STALE_SECONDS = 3600


# --- writing whole files -------------------------------------------------------------------------


def refuse_existing(path: str | os.PathLike, overwrite: bool = False) -> None:
    """Raise LatticeFlowsError if `path` exists (unless `overwrite`) or can't be written.

    For commands to call before they start computing, not after.
    """
    path = Path(path)
    if path.is_dir():
        raise LatticeFlowsError(f"{path} is a directory: give the name of a file")
    if path.exists() and not path.is_file():
        raise LatticeFlowsError(f"{path} is not a regular file: give another name")
    if path.exists() and not overwrite:
        raise LatticeFlowsError(f"{path} exists: give --overwrite to replace it, or another name")
    directory = _target(path).parent
    if not directory.is_dir():
        raise LatticeFlowsError(f"{directory} is not a directory: make it first (mkdir -p)")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise LatticeFlowsError(f"{directory} is not writable: choose another directory")


@writing()
def atomic_write(path: str | os.PathLike, writer: Callable[[Path], None]) -> None:
    """Let `writer` write a temporary file beside `path`, then rename it to `path`.

    The temporary file exists, empty, when `writer` is called, and ends in the suffix of `path` (so
    that writers which go by it choose the right format). Whatever goes wrong, `path` stays as it
    was.

    Raises LatticeFlowsError where it can't be written: full disk, no permission, not a regular
    file.
    """
    refuse_existing(path, overwrite=True)
    target = _target(Path(path))
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}.part{target.suffix}")
    try:
        # not tempfile.mkstemp: that makes files for their owner's eyes alone, whatever the umask
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        writer(temporary)
        _fsync(temporary)
        os.replace(temporary, target)
        _fsync(target.parent)
    except OSError as error:
        raise LatticeFlowsError(f"cannot write {path}: {_explain(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
            _sweep(target)


def _target(path: Path) -> Path:
    """The file itself where `path` is a link: the link is kept, the file behind it replaced."""
    return Path(os.path.realpath(path))


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(target: Path) -> None:
    """Remove what killed jobs left behind of earlier attempts at the same file."""
    prefix, suffix = f".{target.stem}.", f".part{target.suffix}"
    for file in target.parent.iterdir():
        token = file.name.removeprefix(prefix).removesuffix(suffix)
        if file.name == f"{prefix}{token}{suffix}" and len(token) == 12:
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > _STALE_SECONDS:
                    file.unlink()


def _explain(error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{reason}: free some space or write elsewhere; nothing was left half-written"
    return f"{reason}: choose another place"


# --- netCDF --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variable:
    """A netCDF variable: one dimension name per axis, data, and what it is.

    Data may be float, integer or boolean (stored as 0 and 1 with CF flag meanings).
    """

    dimensions: tuple[str, ...]
    data: NDArray
    long_name: str
    units: str = "1"
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A file read: variables by name, and global attributes. `dataset["name"]` is the data."""

    path: Path
    variables: dict[str, Variable]
    attributes: dict[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.variables

    def __getitem__(self, name: str) -> NDArray:
        if name not in self.variables:
            raise LatticeFlowsError(f"{self.path} has no variable {name!r}: write the file again")
        return self.variables[name].data

    def get(self, name: str) -> NDArray | None:
        """The data of a variable, or None if the file does not have it."""
        variable = self.variables.get(name)
        return None if variable is None else variable.data

    def json(self, attribute: str) -> Any:
        """A global attribute that holds JSON, decoded; LatticeFlowsError if it does not."""
        try:
            return json.loads(self.attributes[attribute])
        except (KeyError, TypeError, ValueError) as error:
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
) -> dict[str, Variable]:
    """NAME and NAME_stderr (and NAME_exact, where known): how every estimate is stored."""
    variables = {
        name: Variable(dimensions, np.asarray(value), long_name),
        f"{name}_stderr": Variable(dimensions, np.asarray(stderr), f"standard error of {name}"),
    }
    if exact is not None:
        variables[f"{name}_exact"] = Variable(dimensions, np.asarray(exact), f"exact {long_name}")
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
) -> None:
    """Write a netCDF file of `kind` ("ensemble", "scan", "observables", "exact-table"), atomically.

    `config` is stored as JSON in `lf_config`: theory, shape and whatever made the file. Attributes
    that netCDF has no type for (None, booleans, lists, dicts) are stored as JSON. NAME_stderr (and
    any NAME_exact) is linked to NAME by `ancillary_variables`.

    Raises LatticeFlowsError as `atomic_write` does.
    """
    header = {
        "Conventions": "CF-1.11, ACDD-1.3",
        "title": title,
        **provenance(),
        "references": references,
        "lf_format": kind,
        "lf_format_version": FORMAT_VERSION,
        "lf_config": dict(config),
        **(attributes or {}),
    }
    content = _encode_dataset(variables, header)
    atomic_write(path, lambda temporary: _write_bytes(temporary, content))


def read_dataset(path: str | os.PathLike, *kinds: str) -> Dataset:
    """Read a file that `write_dataset` wrote, of one of `kinds` (any, if none is given).

    Raises LatticeFlowsError for a file that is missing, truncated, foreign, of another kind, or
    written by a newer version.
    """
    import netCDF4

    path = Path(path)
    if not path.is_file():
        state = "is not a file" if path.exists() else "does not exist"
        raise LatticeFlowsError(f"{path} {state}: give the name of a netCDF file")
    try:
        with open(path, "rb"):
            pass  # permissions: netCDF4 would report them as something else
        with netCDF4.Dataset(path, "r") as file:
            file.set_auto_maskandscale(False)
            attributes = {name: file.getncattr(name) for name in file.ncattrs()}
            _check_format(path, attributes, kinds)
            variables = {name: _decode_variable(v) for name, v in file.variables.items()}
    except PermissionError as error:
        raise LatticeFlowsError(f"{path} is not readable: {os.strerror(errno.EACCES)}") from error
    except (OSError, RuntimeError) as error:
        raise LatticeFlowsError(
            f"{path} is not a netCDF file, or only a part of one: write or copy it again"
        ) from error
    return Dataset(path, variables, attributes)


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


def _encode_dataset(variables: Mapping[str, Variable], header: Mapping[str, Any]) -> memoryview:
    """The bytes of a netCDF-4 file, made in memory.

    So that a full disk is met by a plain write, which names it, and not inside the HDF5 library,
    which does not; and because HDF5 locks the files it writes, which some network disks refuse.
    """
    import netCDF4

    file: Any = netCDF4.Dataset("memory.nc", "w", format="NETCDF4", memory=1)
    for name, value in header.items():
        file.setncattr(name, _encode_attribute(value))
    for name, variable in variables.items():
        data = np.asarray(variable.data)
        attributes = {"long_name": variable.long_name, "units": variable.units}
        if data.dtype == bool:
            data = data.astype(np.int8)
            attributes = {
                "long_name": variable.long_name,
                "flag_values": np.array([0, 1], np.int8),
                "flag_meanings": "false true",
            }
        if data.dtype.kind == "U":  # names have no units
            del attributes["units"]
        ancillary = [
            f"{name}_{part}" for part in ("stderr", "exact") if f"{name}_{part}" in variables
        ]
        if ancillary:
            attributes["ancillary_variables"] = " ".join(ancillary)
        if data.ndim != len(variable.dimensions):
            raise ValueError(f"{name}: {data.ndim} axes, but dimensions {variable.dimensions}")
        for dimension, size in zip(variable.dimensions, data.shape, strict=True):
            if dimension not in file.dimensions:
                file.createDimension(dimension, size)
            if len(file.dimensions[dimension]) != size:
                raise ValueError(f"{name}: dimension {dimension} has two sizes")
        stored = file.createVariable(name, data.dtype, variable.dimensions)
        for key, value in {**attributes, **variable.attributes}.items():
            stored.setncattr(key, _encode_attribute(value))
        stored[...] = data
    image = file.close()
    # Images in memory are padded to 64 KiB. A superblock of version 2 or 3 says where the file ends
    # (HDF5 File Format Specification 3.0, section II.A).
    end = int.from_bytes(image[28:36], "little") if image[8] in (2, 3) else len(image)
    return image[:end]


def _decode_variable(stored: Any) -> Variable:
    attributes = {name: stored.getncattr(name) for name in stored.ncattrs()}
    data = np.asarray(stored[...])
    if attributes.get("flag_meanings") == "false true":
        data = data.astype(bool)
    long_name, units = attributes.pop("long_name", stored.name), attributes.pop("units", "1")
    return Variable(stored.dimensions, data, long_name, units, attributes)


def _encode_attribute(value: Any) -> Any:
    if isinstance(value, (str, int, float, np.number, np.ndarray)) and not isinstance(value, bool):
        return value
    return to_json(value)


def _write_bytes(path: Path, content: memoryview | bytes) -> None:
    path.write_bytes(content)


# --- provenance ----------------------------------------------------------------------------------


def to_json(value: Any) -> str:
    """JSON with sorted keys, of all that configurations are made of (numpy scalars too)."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, default=lambda array: array.tolist()
    )


def provenance() -> dict[str, str]:
    """Program, version and commit, the command line and the date: `source`, `history`,
    `date_created`.

    The date is SOURCE_DATE_EPOCH where that is set (reproducible builds). Raises LatticeFlowsError
    if it is set to something that is not a number of seconds.
    """
    try:
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
        date = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as error:
        raise LatticeFlowsError(
            "SOURCE_DATE_EPOCH is not a date: unset it, or give seconds"
        ) from error
    commit = _commit()
    source = f"lattice-flows {_version()}" + (f" commit {commit}" if commit else "")
    command = shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])
    return {"source": source, "history": f"{date} {command}", "date_created": date}


def _version() -> str:
    try:
        return metadata.version("lattice-flows")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


@functools.cache
def _commit() -> str | None:
    """Commit of the checkout this runs from, with a "+" if files differ from it, or None."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return None
    git = [
        "git",
        "-C",
        str(checkout),
        "describe",
        "--always",
        "--abbrev=12",
        "--exclude=*",
        "--dirty=+",
    ]
    try:
        done = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
