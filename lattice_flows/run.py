"""A run directory: the configuration, the history and the checkpoints of one training.

    config.json      the Config; written last on creation, so a directory with it is a whole run
    provenance.json  versions, machine, date and the command that started it
    history.jsonl    one JSON record for each reported step
    checkpoint.npz   the latest training state
    finished.json    written when the last step is saved
    lock             held (flock) by the process that writes here

A process may be killed at any moment: every file but the history is replaced atomically, the
history is synced before the checkpoint that follows it, and resuming cuts it back to that one.
"""

import contextlib
import fcntl
import json
import math
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lattice_flows import checkpoint
from lattice_flows.atomic import atomic_write
from lattice_flows.config import Config
from lattice_flows.provenance import origin, versions
from theories.errors import LatticeFlowsError

CONFIG, PROVENANCE, HISTORY = "config.json", "provenance.json", "history.jsonl"
CHECKPOINT, FINISHED, LOCK = "checkpoint.npz", "finished.json", "lock"
# config.json goes first when a run is overwritten: what is left is then an unfinished creation
_OWN_FILES = (CONFIG, FINISHED, CHECKPOINT, HISTORY, PROVENANCE)


class Run:
    """A run directory and its configuration. Writers hold `lock()` while they work."""

    def __init__(self, path: Path, config: Config):
        self.path = path
        self.config = config

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        config: Config,
        *,
        overwrite: bool = False,
        state: Any = None,
    ) -> "Run":
        """Make the directory `path` a new run; one that a kill left half made is completed.

        A training `state` to go on from, such as another run's, is its first checkpoint.

        Raises LatticeFlowsError where a run stands already (unless `overwrite`), where the
        directory holds other things, and where it cannot be written.
        """
        directory = Path(path)
        refuse_existing(directory, overwrite)
        with _writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            for name in _OWN_FILES:
                (directory / name).unlink(missing_ok=True)
        _write_text(directory / PROVENANCE, json.dumps(origin(), indent=2) + "\n")
        if state is not None:
            checkpoint.save(directory / CHECKPOINT, state)
        _write_text(directory / CONFIG, config.to_json())
        return cls(directory, config)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Run":
        """The run in the directory `path`.

        Raises LatticeFlowsError where there is none, or its configuration cannot be read.
        """
        directory = Path(path)
        if not directory.exists():
            raise LatticeFlowsError(
                f"{directory} does not exist: make it with "
                f"lattice-flows train {directory} --theory … --sites …"
            )
        if not (directory / CONFIG).is_file():
            raise LatticeFlowsError(f"{directory} is not a run directory: it has no {CONFIG}")
        return cls(directory, Config.read(directory / CONFIG))

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
            file.write(json.dumps(finite, allow_nan=False) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """Every whole record of the history, in order."""
        try:
            lines = (self.path / HISTORY).read_text(encoding="utf-8").split("\n")[:-1]
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def cut_history(self, step: int) -> None:
        """Forget what was recorded after `step` (a kill may fall between record and checkpoint)."""
        kept = [json.dumps(r) + "\n" for r in self.history() if r["step"] <= step]
        _write_text(self.path / HISTORY, "".join(kept))

    # the states

    @property
    def has_checkpoint(self) -> bool:
        """Whether a training state was saved."""
        return (self.path / CHECKPOINT).exists()

    def save(self, tree: Any) -> None:
        """Save the latest training state, after all that the history says of it."""
        with _writing(self.path), (self.path / HISTORY).open("a") as file:
            os.fsync(file.fileno())
        checkpoint.save(self.path / CHECKPOINT, tree)

    def load(self, template: Any, *, subset: bool = False) -> Any:
        """The latest training state, in the structure of `template` (see `checkpoint.load`)."""
        if not self.has_checkpoint:
            raise LatticeFlowsError(
                f"{self.path} has no checkpoint yet: lattice-flows train {self.path} --resume"
            )
        return checkpoint.load(self.path / CHECKPOINT, template, subset=subset)

    # the end, and where it all comes from

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return (self.path / FINISHED).exists()

    def finish(self) -> None:
        """Say that the training came to its end."""
        _write_text(self.path / FINISHED, json.dumps({"steps": self.config.steps}) + "\n")

    def provenance(self) -> dict[str, Any]:
        """Versions, machine, date and command of the run's beginning."""
        return json.loads((self.path / PROVENANCE).read_text(encoding="utf-8"))

    def version_changes(self) -> list[str]:
        """The packages that changed since the run began, e.g. 'jax 0.10.2 → 0.11.2'.

        Any of them may change random streams or rounding, and with them the resumed run.
        """
        then, now = self.provenance()["versions"], versions()
        return [f"{k} {then[k]} → {now.get(k)}" for k in then if then[k] != now.get(k)]


def refuse_existing(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Refuse a directory where a run stands already (unless `overwrite`), or other things."""
    directory = Path(path)
    _refuse_foreign(directory)
    if (directory / CONFIG).exists() and not overwrite:
        raise LatticeFlowsError(
            f"{directory} holds a run already: carry it on with --resume, "
            "or replace it with --overwrite"
        )


@contextlib.contextmanager
def lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the run directory `path` (made where there is none) against other processes.

    Raises LatticeFlowsError where another one holds it.
    """
    directory = Path(path)
    _refuse_foreign(directory)
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / LOCK).open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise LatticeFlowsError(
                f"{directory} is in use by another process (pid {owner}): wait for it, or stop it"
            ) from None
        with _writing(directory):
            file.truncate(0)
            file.write(f"{os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield  # the lock goes with the file handle, and so with a killed process


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Trouble with the disk as one line."""
    try:
        yield
    except OSError as error:
        raise LatticeFlowsError(
            f"cannot write {path}: {error.strerror or error}; choose another place or make room"
        ) from error


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
    ours = {*_OWN_FILES, LOCK}
    for entry in directory.iterdir():
        if entry.name not in ours and not entry.name.startswith("."):
            raise LatticeFlowsError(
                f"{directory} is not a run directory (it holds {entry.name}): choose another path"
            )
