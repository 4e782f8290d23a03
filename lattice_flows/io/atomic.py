"""Files written whole or not at all.

Everything goes through `atomic_write`: a temporary file in the same directory, fsync, a rename,
fsync of the directory. A job killed at any moment leaves the old file or the new one.

A name that `refuse_existing` found free is promised: what another process puts there meanwhile is
not replaced.
"""

import contextlib
import errno
import itertools
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from lattice_flows.io.interrupt import writing
from theories.errors import LatticeFlowsError

_STALE_SECONDS = 3600
_promised: set[Path] = set()  # names found free, where no file may be replaced


def refuse_existing(path: str | os.PathLike, overwrite: bool = False) -> None:
    """Raise LatticeFlowsError if `path` exists (unless `overwrite`) or can't be written.

    For commands to call before they start computing, not after. A file that appears until
    `atomic_write` is done is not replaced then, unless `overwrite`.
    """
    path = Path(path)
    if path.is_file() and not overwrite:
        raise LatticeFlowsError(
            f"{path} exists: give `overwrite=True` to replace it, or another name"
        )
    _refuse_impossible(path)
    if overwrite:
        _promised.discard(_target(path))
    else:
        _promised.add(_target(path))


def _refuse_impossible(path: Path) -> None:
    """Raise LatticeFlowsError where no file can stand."""
    if path.is_dir():
        raise LatticeFlowsError(f"{path} is a directory: give the name of a file")
    if path.exists() and not path.is_file():
        raise LatticeFlowsError(f"{path} is not a regular file: give another name")
    directory = _target(path).parent
    if not directory.is_dir():
        raise LatticeFlowsError(f"{directory} is not a directory: make it first (mkdir -p)")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise LatticeFlowsError(f"{directory} is not writable: choose another directory")


@writing()
def atomic_write(
    path: str | os.PathLike, writer: Callable[[Path], None], overwrite: bool | None = None
) -> None:
    """Let `writer` write a temporary file beside `path`, then rename it to `path`.

    The temporary file exists, empty, when `writer` is called, and ends in the suffix of `path` (so
    that writers which go by it choose the right format). Whatever goes wrong, `path` stays as it
    was.

    Without `overwrite` a file that stands at `path` by then, such as another process's, is left
    alone: what was written is kept beside it under the first free of the names STEM-1, STEM-2, …
    None: as `refuse_existing` was told of this path in this process, True where it was not asked.

    Raises LatticeFlowsError where it can't be written: full disk, no permission, not a regular
    file; and where it had to be kept under another name, which the message gives.
    """
    _refuse_impossible(Path(path))
    target = _target(Path(path))
    if overwrite is None:
        overwrite = target not in _promised
    placed = target
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}.part{target.suffix}")
    try:
        # not tempfile.mkstemp: that makes files for their owner's eyes alone, whatever the umask
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        writer(temporary)
        _fsync(temporary)
        if overwrite:
            os.replace(temporary, target)
        else:
            placed = _place(temporary, target)
        _fsync(target.parent)
    except OSError as error:
        raise LatticeFlowsError(f"cannot write {path}: {_explain(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
            _sweep(target)
    if placed != target:
        raise LatticeFlowsError(
            f"{path} appeared meanwhile and is left as it is: the result is in "
            f"{Path(path).with_name(placed.name)}"
        )
    _promised.discard(target)  # the file there is this process's own now


def _place(temporary: Path, target: Path) -> Path:
    """Give the file the name `target`, or the first free one beside it; never replace a file."""
    others = (f"{target.stem}-{number}{target.suffix}" for number in itertools.count(1))
    for name in itertools.chain([target.name], others):
        with contextlib.suppress(FileExistsError):
            _rename_to_free(temporary, target.with_name(name))
            return target.with_name(name)
    raise AssertionError("there is always a free name")


def _rename_to_free(temporary: Path, target: Path) -> None:
    """Rename, or raise FileExistsError: both in one step, as a look beforehand could not."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links here: hold the name with an empty file, then replace that
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        os.replace(temporary, target)


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
