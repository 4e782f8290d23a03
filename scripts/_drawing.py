"""What the commands that draw share: finished blocks beside the output, signals, `--resume`."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lattice_flows.io.interrupt import Interrupted, deferred
from lattice_flows.scripts import _output

if TYPE_CHECKING:
    from lattice_flows.ensembles.blocks import Parts
    from lattice_flows.runs.run import Run

_GO_ON = "give the same command with --resume"
DRAWING = "drawing"
"""The key of the command that made a file, in its provenance or its JSON."""


@contextlib.contextmanager
def stoppable(output: Path | None) -> Iterator[Callable[[], bool]]:
    """Hold back signals while draws are kept beside `output`; yields whether one has come.

    Without an output nothing is kept, and signals end the command at once.
    """
    if output is None:
        yield lambda: False
        return
    saved = f"{output} is interrupted, and what is drawn is saved; to go on: {_GO_ON}"
    with deferred(_notify, lambda: saved) as interrupted:
        try:
            yield interrupted
        except Interrupted as error:
            raise Interrupted(saved) from error


def _notify(signal: str) -> None:
    _output.say(f"{signal}: saving after this block (Ctrl-C again stops at once)")


@contextlib.contextmanager
def parts(
    output: Path | None, record: Mapping[str, Any], *, resume: bool, overwrite: bool
) -> "Iterator[Parts | None]":
    """Where finished blocks are kept: beside `output`, nowhere without one.

    None, and a line that says so, where --resume finds that the output is finished. Raises
    LatticeFlowsError where what is there is of another command, unless `overwrite`.
    """
    from lattice_flows.ensembles.blocks import Parts

    if output is None:
        yield Parts()
    elif resume and output.exists() and _is_made(output, record, overwrite):
        _output.say(f"{output} is finished")
        Parts.of(output).sweep()
        yield None
    else:
        with Parts.open(output, record, resume=resume, overwrite=overwrite) as kept:
            yield kept


def _is_made(output: Path, record: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether an output is what the command makes, and not to be replaced."""
    from lattice_flows.ensembles.blocks import refuse_others
    from theories import LatticeFlowsError

    try:
        refuse_others(output, _made_by(output), record)
    except LatticeFlowsError:
        if overwrite:
            return False
        raise
    return True


def _made_by(output: Path) -> Any:
    """The record of the command that wrote a file, None where it has none."""
    from lattice_flows.io.integrity import Damaged, read_json
    from lattice_flows.io.netcdf import read_dataset

    if output.suffix != ".json":
        dataset = read_dataset(output, lazy=("configuration",))
        return dataset.json("lf_provenance").get(DRAWING)
    try:
        return read_json(output)[0].get(DRAWING)
    except Damaged:
        return None


def record(command: str, **settings: Any) -> dict[str, Any]:
    """What tells the work of a command from any other: settings, own code, versions of packages.

    Other versions may draw other numbers.
    """
    from lattice_flows.io.provenance import versions
    from theories import outside

    own = outside.code()
    code = {"code": own} if own else {}
    return {"command": command, **settings, **code, "versions": versions()}


def recorded(made: Any, record: Mapping[str, Any]) -> Any:
    """An ensemble or a scan whose provenance says what it was made by, for --resume to know it."""
    return dataclasses.replace(made, provenance={**made.provenance, DRAWING: record})


def digest(run: "Run") -> str:
    """SHA-256 of a run's configuration and parameters."""
    from lattice_flows.runs.run import CHECKPOINT, CONFIG

    found = hashlib.sha256()
    for name in (CONFIG, CHECKPOINT):
        with contextlib.suppress(FileNotFoundError):  # refused when it is loaded
            found.update((run.path / name).read_bytes())
    return found.hexdigest()
