"""Where a file comes from: program, command, date, versions, machine, device, seed and job."""

import contextlib
import functools
import json
import os
import platform
import shlex
import socket
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
    """Where and with what this process computes: date, command, machine, versions, device.

    "device" and "precision" are there once jax is in use, "seed" once it is known (`use_seed`),
    "job" inside a job of a scheduler, "host" where LATTICE_FLOWS_HOSTNAME is set (to anything but
    0): names of machines are nobody else's business.
    """
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    found = provenance() | {"machine": machine, "versions": versions()}
    parts = {"seed": _seed, "job": job(), **_jax()}
    if os.environ.get("LATTICE_FLOWS_HOSTNAME", "0") not in ("", "0"):
        parts["host"] = socket.gethostname()
    return found | {name: value for name, value in parts.items() if value is not None}


_seed: int | None = None


def use_seed(seed: int) -> None:
    """Say which seed this process draws from, typed or not, for the files that it writes."""
    global _seed
    _seed = seed


def job() -> dict[str, Any] | None:
    """The scheduler's job that this process belongs to: its id, and how often it was restarted.

    The id has the number in the array where there is one. None outside of jobs.
    """
    for name, array in _JOB_IDS.items():
        if number := os.environ.get(name):
            task = os.environ.get(array, "undefined")  # what Grid Engine says outside of arrays
            restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
            return {
                "id": number if task == "undefined" else f"{number}[{task}]",
                "restarts": int(restarts) if restarts.isdecimal() else 0,
            }
    return None


# Slurm, PBS, LSF, Grid Engine: the variable with the job's id, and that with its place in an array
_JOB_IDS = {
    "SLURM_JOB_ID": "SLURM_ARRAY_TASK_ID",
    "PBS_JOBID": "PBS_ARRAY_INDEX",
    "LSB_JOBID": "LSB_JOBINDEX",
    "JOB_ID": "SGE_TASK_ID",
}


def _jax() -> dict[str, Any]:
    """The device and the precision that jax computes with; nothing where it is not in use."""
    jax = sys.modules.get("jax")
    if jax is None:
        return {}
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError):  # no such platform here: whoever computes will say so
        return {}
    first = devices[0]
    return {
        "device": {"platform": first.platform, "kind": first.device_kind, "count": len(devices)},
        "precision": {
            "x64": bool(jax.config.jax_enable_x64),
            "matmul": jax.config.jax_default_matmul_precision or "default",
        },
    }
