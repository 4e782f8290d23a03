"""Compiled programs kept on disk, for the next process: jax's persistent compilation cache.

A program is found by what it computes and the version of jax. Different processors have folders of
their own, for jax does not tell them apart. A folder is bounded in size, and a program that a
killed process left half written is removed.
Imports nothing heavy: jax reads the settings when it is loaded.
"""

import contextlib
import hashlib
import os
import platform
import sys
import warnings
import zlib
from pathlib import Path

VARIABLE = "LATTICE_FLOWS_CACHE"
_JAX_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_LARGEST = 2**30  # bytes in the folder, when a process begins
_LEAST_SECONDS = 0.2  # of compiling, below which a program is not kept
_CHECKED = "checked"  # a file whose date says up to when entries were found whole


def default_folder() -> Path | None:
    """Where programs are kept: LATTICE_FLOWS_CACHE, or the user's cache folder.

    None where jax's own variable names one, which then is left to jax and the user; and for a user
    without a home, as in some containers.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if os.environ.get(_JAX_VARIABLE):
        return None
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(home) / "lattice-flows" / "jax"


def use(folder: Path) -> str | None:
    """Keep compiled programs in `folder`, made where there is none, from now on.

    Returns None, or why it can't be used; then nothing is changed.
    """
    folder = folder / processor()
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        return f"{folder} is not a name in UTF-8, as jax wants it"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return f"{folder} is not writable"
        _tidy(folder)
    except OSError as error:
        return f"{folder}: {error.strerror or error}"
    _configure("jax_compilation_cache_dir", str(folder.absolute()))
    _configure("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    # an entry that can't be read or written costs time, and no more
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")
    return None


def processor() -> str:
    """A name for the instructions that this machine knows."""
    known = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(known.encode()).hexdigest()[:12]}"


def do_without() -> None:
    """Keep nothing, whatever the environment says."""
    _configure("jax_enable_compilation_cache", False)


def _configure(name: str, value: str | float | bool) -> None:
    """A setting of jax, in the environment where jax is not loaded yet."""
    if "jax" in sys.modules:
        import jax

        jax.config.update(name, value)
    else:
        os.environ[name.upper()] = str(value)


def _tidy(folder: Path) -> None:
    """Remove half-written entries, and those that have not been used for longest."""
    stamp = folder / _CHECKED
    checked = stamp.stat().st_mtime if stamp.exists() else 0.0
    entries: list[tuple[float, int, Path]] = []
    for path in folder.glob("*-cache"):
        with contextlib.suppress(OSError):  # another process may be at it, too
            status = path.stat()
            if status.st_mtime >= checked and not _whole(path):
                path.unlink()
                continue
            entries.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    stamp.touch()
    total = 0
    for _, size, path in sorted(entries, reverse=True):
        total += size
        if total > _LARGEST:
            path.unlink(missing_ok=True)


def _whole(path: Path) -> bool:
    """Whether an entry is complete; of a kind that is not known here, whether there is anything."""
    content = path.read_bytes()
    if not content.startswith(b"\x78"):
        return bool(content)
    try:
        zlib.decompress(content)
    except zlib.error:
        return False
    return True
