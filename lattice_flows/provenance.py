"""Where a file comes from: program, command, date, versions and machine."""

import contextlib
import functools
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from theories.errors import LatticeFlowsError

_PACKAGES = ("lattice-flows", "jax", "jaxlib", "dm-haiku", "optax", "diffrax", "numpy", "scipy")


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


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def origin() -> dict[str, Any]:
    """Where and with what this process computes: date, command, machine, versions."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return provenance() | {"machine": machine, "versions": versions()}
