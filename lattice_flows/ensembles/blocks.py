"""Draws made in blocks: what is finished is kept beside the output, until that stands.

While OUT is being made there is a folder `.OUT.parts`:

    record.npz      what it belongs to: command, run, couplings, counts, seed, versions
    NAME.npz        a finished part of the work
    NAME/           one drawing: FIRST.npz holds the draws from number FIRST on, and where to go on

Every part is written whole or not at all, and sealed (io/integrity.py): one that is damaged is made
again. Random numbers come from the seed and the number of a draw alone, so that neither an
interruption nor the size of the parts shows in the result.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lattice_flows.ensembles.rows import RawRows, Rows
from lattice_flows.io.integrity import is_sealed, seal
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.io.lock import lock
from lattice_flows.io.netcdf import atomic_write, to_json
from theories.errors import LatticeFlowsError

# A kill costs so many seconds of drawing at most, and memory holds so many bytes of draws.
_SECONDS, _BYTES = 5.0, 16 << 20
_STATE = "state."

Arrays = Mapping[str, ArrayLike]


class Parts:
    """A folder of finished parts by name; without a folder nothing is kept."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder

    @classmethod
    def of(cls, output: Path) -> "Parts":
        """Where the parts of `output` are, if there are any."""
        return cls(output.with_name(f".{output.name}.parts"))

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, output: Path, record: Mapping[str, Any], *, resume: bool, overwrite: bool
    ) -> Iterator["Parts"]:
        """The parts of `output`, of the work that `record` (JSON) describes, held by this process.

        Those that exist are carried on if `resume`, else dropped if `overwrite`. A folder in which
        nothing is kept in the end is removed. Raises LatticeFlowsError where they may be neither,
        where they are of other work, and where another process works on them.
        """
        parts = cls.of(output)
        assert parts.folder is not None
        with contextlib.ExitStack() as stack:
            try:
                parts.folder.mkdir(exist_ok=True)
                stack.enter_context(lock(parts.folder))
                begun = parts._begun()
            except OSError as error:
                raise LatticeFlowsError(f"cannot write {parts.folder}: {error.strerror}") from error
            if begun and not resume:
                if not overwrite:
                    raise LatticeFlowsError(
                        f"{output} was begun before: carry it on with `resume=True`, "
                        "or begin anew with `overwrite=True`"
                    )
                parts._clear()
                begun = False
            if begun:
                found = parts.load("record")
                if found is None:
                    raise LatticeFlowsError(
                        f"{parts.folder} is damaged: begin anew with `overwrite=True`"
                    )
                refuse_others(output, json.loads(str(found["record"])), record)
            else:
                parts.save("record", {"record": np.array(to_json(record))})
            try:
                yield parts
            finally:
                if not parts._begun():
                    parts.remove()

    def _begun(self) -> bool:
        """Whether any part is there."""
        assert self.folder is not None
        found = self.folder.rglob("[!.]*.npz")  # what begins with a dot was not written to its end
        return any(path.name != "record.npz" for path in found)

    def _clear(self) -> None:
        """Drop all parts, the record first: without it nothing is taken for begun."""
        assert self.folder is not None
        (self.folder / "record.npz").unlink(missing_ok=True)
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.suffix == ".npz":
                entry.unlink(missing_ok=True)

    def save(self, name: str, arrays: Arrays) -> None:
        """Keep a part."""
        if self.folder is None:
            return
        plain: dict[str, Any] = {key: np.asarray(array) for key, array in arrays.items()}

        def write(temporary: Path) -> None:
            np.savez(temporary, allow_pickle=False, **plain)
            seal(temporary)

        atomic_write(self.folder / f"{name}.npz", write)

    def load(self, name: str) -> dict[str, NDArray] | None:
        """A part; None where there is none, or it is damaged."""
        if self.folder is None:
            return None
        path = self.folder / f"{name}.npz"
        try:
            if not is_sealed(path):
                return None
        except (OSError, ValueError):
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def within(self, name: str) -> "Parts":
        """A folder of parts within this one."""
        if self.folder is None:
            return self
        (self.folder / name).mkdir(exist_ok=True)
        return Parts(self.folder / name)

    def sweep(self) -> None:
        """Remove all of it, unless another process works on it."""
        if self.folder is not None and self.folder.is_dir():
            with contextlib.suppress(LatticeFlowsError, OSError), lock(self.folder):
                self.remove()

    def remove(self) -> None:
        """Remove all of it."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def refuse_others(output: Path, found: Mapping[str, Any] | None, record: Mapping[str, Any]) -> None:
    """Raise LatticeFlowsError unless what was `found` of `output` is a record of the same work."""
    found, wanted = found or {}, json.loads(to_json(record))
    for name in record:
        if found.get(name) != wanted[name]:
            there, here = (to_json(x) for x in (found.get(name), wanted[name]))
            told = f"{there}, not {here}" if len(there + here) < 60 else "differs"
            raise LatticeFlowsError(
                f"{output} was begun by another command ({name} {told}): "
                "give another name, or begin anew with `overwrite=True`"
            )


class Blocks:
    """The blocks of one drawing: arrays (tracks, draws, …), one after the other along `draws`.

    Tracks are drawn side by side: chains, or the couplings along a line. Between additions they are
    in memory until they are large or old enough for a part, without `parts` to the end.

    done: the draws of each track so far. state: what the last block left to go on from.
    """

    def __init__(self, parts: Parts | None = None, interrupted: Callable[[], bool] | None = None):
        self.parts = parts or Parts()
        self.interrupted = interrupted or (lambda: False)
        self.done = 0
        self.state: dict[str, NDArray] = {}
        self._names: list[str] = []
        self._pending: list[dict[str, NDArray]] = []
        self._saved = time.monotonic()
        while (found := self.parts.load(_name(self.done))) is not None:
            self.state = {k[len(_STATE) :]: v for k, v in found.items() if k.startswith(_STATE)}
            drawn = {k: v for k, v in found.items() if not k.startswith(_STATE)}
            length = _length(drawn)
            if not length:  # nothing drawn yet
                break
            self._names.append(_name(self.done))
            self.done += length

    def add(self, arrays: Arrays, state: Arrays | None = None) -> None:
        """Keep a block, and where to go on; a block of no draws keeps that alone.

        Raises Interrupted, all being saved, where that is asked for.
        """
        block = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
        if block:
            self._pending.append(block)
        self.state = {name: np.asarray(array) for name, array in (state or {}).items()}
        self.done += _length(block)
        stop = self.interrupted()
        old = time.monotonic() - self._saved > _SECONDS
        large = sum(a.nbytes for block in self._pending for a in block.values()) > _BYTES
        if self.parts.folder is not None and (stop or old or large):
            self._save()
        if stop:
            raise Interrupted

    def _save(self) -> None:
        drawn = self._joined(self._pending)
        name = _name(self.done - _length(drawn))
        self.parts.save(name, drawn | {f"{_STATE}{k}": v for k, v in self.state.items()})
        self._pending, self._saved = [], time.monotonic()
        if _length(drawn):
            self._names.append(name)

    def joined(self, name: str, draws: int) -> Rows | NDArray[np.float64]:
        """The first `draws` of each track, one track after the other: (tracks·draws, …).

        On disk where the parts are.
        """
        if self.parts.folder is None:
            together = self._joined(self._pending)[name][:, :draws]
            return together.reshape(-1, *together.shape[2:])
        if self._pending:
            self._save()
        path = self.parts.folder / f"{name}.raw"
        row: tuple[int, ...] = ()
        tracks = 0

        def write(temporary: Path) -> None:
            nonlocal row, tracks
            first = 0
            with temporary.open("r+b") as file:
                for part in self._names:
                    found = self.parts.load(part)
                    if found is None:
                        raise LatticeFlowsError(
                            f"{self.parts.folder}/{part}.npz is damaged: "
                            "begin the same work again with `resume=True`"
                        )
                    array = found[name][:, : draws - first]
                    tracks, row = len(array), array.shape[2:]
                    stride = array.itemsize * int(np.prod(row, dtype=int))
                    for track, values in enumerate(array):
                        file.seek((track * draws + first) * stride)
                        file.write(np.ascontiguousarray(values).data)
                    first += array.shape[1]

        atomic_write(path, write)
        return RawRows(path, (tracks * draws, *row))

    @staticmethod
    def _joined(blocks: list[dict[str, NDArray]]) -> dict[str, NDArray]:
        names = blocks[0] if blocks else ()
        return {k: np.concatenate([block[k] for block in blocks], axis=1) for k in names}


def _name(first: int) -> str:
    return f"{first:012d}"


def _length(block: Mapping[str, NDArray]) -> int:
    """The draws in a block."""
    return next(iter(block.values())).shape[1] if block else 0
