"""A run directory: the configuration, the history and the checkpoints of one training.

    config.json      the Config; written last on creation, so a directory with it is a whole run
    provenance.json  versions, machine, date and the command that started it, and each restart
    history.jsonl    one JSON record for each reported step
    start.npz        parameters that a flow takes over from the run that it goes on from
    checkpoint.npz   the latest training state, and which configuration it is of
    finished.json    written when the last step is saved
    lock             held by the process that writes here (io/lock.py)

A process may be killed at any moment: every file but the history is replaced atomically, the
history is synced before the checkpoint that follows it, and resuming cuts it back to that one.

Every file is checked as it is read (io/integrity.py). Configuration and checkpoint are refused
where they are damaged; a run goes on without the others, and the log says so.
"""

import contextlib
import errno
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lattice_flows.io import checkpoint
from lattice_flows.io.atomic import atomic_write
from lattice_flows.io.integrity import (
    DIGEST,
    Damaged,
    digest_of,
    read_json,
    read_lines,
    sealed_json,
    sealed_line,
)
from lattice_flows.io.lock import LOCK, OWNER
from lattice_flows.io.lock import lock as _lock
from lattice_flows.io.provenance import origin, versions
from lattice_flows.runs.config import Config
from theories.errors import LatticeFlowsError

CONFIG, PROVENANCE, HISTORY = "config.json", "provenance.json", "history.jsonl"
START, CHECKPOINT, FINISHED = "start.npz", "checkpoint.npz", "finished.json"
# config.json goes first when a run is overwritten: what is left is then an unfinished creation
_OWN_FILES = (CONFIG, FINISHED, CHECKPOINT, START, HISTORY, PROVENANCE)

log = logging.getLogger(__name__)


class Run:
    """A run directory and its configuration. Writers hold `lock()` while they work.

    digest: of the record in config.json, to know the checkpoints that are of it.
    """

    def __init__(self, path: Path, config: Config, digest: str):
        self.path = path
        self.config = config
        self.digest = digest

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        config: Config,
        *,
        overwrite: bool = False,
        start: Mapping[str, Any] | None = None,
    ) -> "Run":
        """Make the directory `path` a new run; one that a kill left half made is completed.

        `start` has the parameters that its flow takes over from another run, by their part.

        Raises LatticeFlowsError where a run stands already (unless `overwrite`), where the
        directory holds other things, and where it cannot be written.
        """
        directory = Path(path)
        refuse_occupied(directory, overwrite)
        with _writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            for name in _OWN_FILES:
                (directory / name).unlink(missing_ok=True)
        _write_text(directory / PROVENANCE, sealed_json(origin()))
        record = json.loads(config.to_json())
        if start is not None:
            checkpoint.save(directory / START, start, digest_of(record))
        _write_text(directory / CONFIG, sealed_json(record))
        return cls(directory, config, digest_of(record))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Run":
        """The run in the directory `path`.

        Raises LatticeFlowsError where there is none, or its configuration cannot be read.
        """
        directory = Path(path)
        if not directory.exists():
            raise LatticeFlowsError(
                f"{directory} does not exist: make it with `train(theory, path={str(directory)!r})`"
            )
        if not (directory / CONFIG).is_file():
            raise LatticeFlowsError(f"{directory} is not a run directory: it has no {CONFIG}")
        return cls(directory, *_read_config(directory / CONFIG))

    @staticmethod
    def exists(path: str | os.PathLike[str]) -> bool:
        """Whether a whole run stands at `path`."""
        return (Path(path) / CONFIG).is_file()

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from writing here."""
        return lock(self.path)

    # the history

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record to the history; its "step" is the number of steps done.

        A metric that is not finite is written as null. A record holds nothing that differs from one
        run of the same configuration to the next (no clock), so that histories can be compared.
        """
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v
                  for k, v in record.items()}  # fmt: skip
        with _writing(self.path), (self.path / HISTORY).open("a", encoding="utf-8") as file:
            file.write(sealed_line(finite))

    def history(self) -> list[dict[str, Any]]:
        """Every whole record of the history, in order; damaged ones are left out."""
        records, damaged = self.read_history()
        if damaged:
            file = self.path / HISTORY
            log.warning("%s: lines damaged or cut short, and left out: %d", file, damaged)
        return records

    def read_history(self) -> tuple[list[dict[str, Any]], int]:
        """The sound records of the history, and how many lines are damaged or cut short."""
        try:
            text = (self.path / HISTORY).read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            raise LatticeFlowsError(f"{self.path / HISTORY}: {error.strerror}") from error
        *lines, torn = text.split("\n")  # a line without an end was cut short, by a kill perhaps
        records, damaged = read_lines(lines)
        kept = [record for record in records if type(record.get("step")) is int]
        return kept, damaged + len(records) - len(kept) + bool(torn)

    def cut_history(self, step: int) -> None:
        """Forget what was recorded after `step` (a kill may fall between record and checkpoint)."""
        kept = [sealed_line(r) for r in self.history() if r["step"] <= step]
        _write_text(self.path / HISTORY, "".join(kept))

    # the states

    @property
    def has_start(self) -> bool:
        """Whether the flow takes over parameters from another run."""
        return (self.path / START).exists()

    def start(self, template: Mapping[str, Any]) -> dict[str, Any]:
        """The parts of the parameters that `create` was given, in the structure of `template`."""
        names = checkpoint.names(self.path / START, self.digest)
        parts = {
            part: tree
            for part, tree in template.items()
            if any(name.startswith(f"['{part}']") for name in names)
        }
        return checkpoint.load(self.path / START, parts, config=self.digest)

    @property
    def has_checkpoint(self) -> bool:
        """Whether a training state was saved."""
        return (self.path / CHECKPOINT).exists()

    def save(self, tree: Any) -> None:
        """Save the latest training state, after all that the history says of it."""
        with _writing(self.path), (self.path / HISTORY).open("a") as file:
            os.fsync(file.fileno())
        checkpoint.save(self.path / CHECKPOINT, tree, self.digest)

    def load(self, template: Any, *, subset: bool = False) -> Any:
        """The latest training state, in the structure of `template` (see `checkpoint.load`).

        Versions that have changed since the run began are told in the log.
        """
        if not self.has_checkpoint:
            raise LatticeFlowsError(
                f"{self.path} has no checkpoint yet: "
                f"`train(..., path={str(self.path)!r}, resume=True)`"
            )
        tree = checkpoint.load(self.path / CHECKPOINT, template, subset=subset, config=self.digest)
        if changes := self.version_changes():
            changed = ", ".join(changes)
            log.warning("%s since %s began; numbers may differ", changed, self.path)
        return tree

    # the end, and where it all comes from

    @property
    def finished(self) -> bool:
        """Whether the training came to its end; not so, where what says it is damaged."""
        return (self.path / FINISHED).exists() and bool(self._side_file(FINISHED))

    def finish(self) -> None:
        """Say that the training came to its end."""
        _write_text(self.path / FINISHED, sealed_json({"steps": self.config.steps}))

    def provenance(self) -> dict[str, Any]:
        """Versions, machine, date and command of the run's beginning, and its restarts."""
        return self._side_file(PROVENANCE)

    def note_restart(self) -> None:
        """Add to the provenance that this process carries the run on."""
        before = self.provenance()
        then, now = _versions_in(before), origin()
        now["versions"] = {k: v for k, v in now["versions"].items() if then.get(k) != v}
        restarts = [*before.get("restarts", []), now]
        _write_text(self.path / PROVENANCE, sealed_json(before | {"restarts": restarts}))

    def version_changes(self) -> list[str]:
        """The packages that changed since the run began, e.g. 'jax 0.10.2 → 0.11.2'.

        Any of them may change random streams or rounding, and with them the resumed run.
        """
        then, now = _versions_in(self.provenance()), versions()
        return [f"{k} {then[k]} → {now.get(k)}" for k in then if then[k] != now.get(k)]

    def _side_file(self, name: str) -> dict[str, Any]:
        """A record that the run can do without: empty, and told in the log, where it is damaged."""
        try:
            record, sealed = read_json(self.path / name)
        except Damaged as error:
            log.warning("%s is damaged: %s; going on without it", self.path / name, error)
            return {}
        except OSError as error:
            log.warning("%s: %s; going on without it", self.path / name, error.strerror)
            return {}
        if not sealed:
            log.warning("%s has files without a digest: damage would not be noticed", self.path)
        return record


def refuse_occupied(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Refuse a directory where a run stands already (unless `overwrite`), or other things."""
    directory = Path(path)
    _refuse_foreign(directory)
    if (directory / CONFIG).exists() and not overwrite:
        raise LatticeFlowsError(
            f"{directory} holds a run already: carry it on with `resume=True`, "
            "or replace it with `overwrite=True`"
        )


@contextlib.contextmanager
def lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the run directory `path` (made where there is none) against other processes.

    A finished run that can't be written needs no lock.

    Raises LatticeFlowsError where another one holds it.
    """
    directory = Path(path)
    _refuse_foreign(directory)
    with contextlib.ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_lock(directory))
        except OSError as error:
            read_only = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
            if not (read_only and (directory / FINISHED).exists()):
                raise LatticeFlowsError(
                    f"cannot write {directory}: {error.strerror or error}; "
                    "choose another place or make room"
                ) from error
        yield


def _read_config(path: Path) -> tuple[Config, str]:
    """The configuration in a file, and the digest of its record."""
    try:
        record, _ = read_json(path)
    except OSError as error:
        raise LatticeFlowsError(f"{path} can't be read: {error.strerror}") from error
    except Damaged as error:
        _explain_damage(path)
        raise LatticeFlowsError(
            f"{path} is not as it was written (damaged; or edited, so that the checkpoint was made "
            "for another model): restore it, or train a new run"
        ) from error
    return Config.from_json(json.dumps(record), where=path), digest_of(record)


def _explain_damage(path: Path) -> None:
    """Raise LatticeFlowsError with what `Config` finds wrong with a damaged file, if anything."""
    text = path.read_bytes().decode(errors="replace")
    with contextlib.suppress(ValueError, RecursionError, AttributeError):
        record = json.loads(text)
        record.pop(DIGEST, None)
        text = json.dumps(record)
    try:
        Config.from_json(text, where=path)
    except LatticeFlowsError:
        raise
    except Exception as error:  # there is no telling what damage makes of a value
        log.debug("%s: %r", path, error)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Trouble with the disk as one line."""
    try:
        yield
    except OSError as error:
        raise LatticeFlowsError(
            f"cannot write {path}: {error.strerror or error}; choose another place or make room"
        ) from error


def _versions_in(provenance: Mapping[str, Any]) -> dict[str, str]:
    found = provenance.get("versions")
    return found if isinstance(found, dict) else {}


def _write_text(path: Path, text: str) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    atomic_write(path, write)


def _refuse_foreign(directory: Path) -> None:
    """Refuse a path that is neither free, nor a run, nor a creation that was cut short."""
    if not directory.exists() or (directory / CONFIG).exists():
        return
    if not directory.is_dir():
        raise LatticeFlowsError(f"{directory} is a file, not a run directory: choose another path")
    ours = {*_OWN_FILES, LOCK, OWNER}
    for entry in directory.iterdir():
        if entry.name not in ours and not entry.name.startswith("."):
            raise LatticeFlowsError(
                f"{directory} is not a run directory (it holds {entry.name}): choose another path"
            )
