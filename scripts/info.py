"""lattice-flows info: what a file or a run is, and whether it is intact."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from lattice_flows.scripts import _options, _output
from lattice_flows.scripts._command import Command, Failure
from lattice_flows.scripts._words import as_typed


@click.command(cls=Command)
@click.argument("path", metavar="FILE|RUN", type=click.Path(path_type=Path))
@_options.output("Write the JSON object.", suffixes=(".json",))
@_options.x64
@_options.common
def info(path: Path, output: Path | None, overwrite: bool, as_json: bool, seed: int | None) -> None:
    """What a file or a run is, and whether it is intact.

    Theory, lattice, couplings and sizes; whether its numbers can be relied on, and which checks
    failed; the versions it was made with and, where they differ, those here; of runs, how far the
    training is. Exit code 1 says that it is damaged. --x64 and --seed change nothing.

    \b
    Examples:
      lattice-flows info runs/cycle
      lattice-flows info scan.nc --json
    """
    from lattice_flows.runs.info import describe_path

    found = describe_path(path)
    found["damage"] = list(map(as_typed, found["damage"]))
    if output is not None:
        _output.write_json(output, found)
    _output.show(_output.json_text(found) if as_json else _readable(found))
    if found["damage"]:
        raise Failure(found["damage"][0])


def _readable(found: Mapping[str, Any]) -> str:
    rows = [
        (name.replace("_", " "), _text(name, value))
        for name, value in found.items()
        if name != "damage" and value not in ({}, [])
    ]
    rows += [("damage", line) for line in found["damage"]]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _text(name: str, value: Any) -> str:
    if name == "intact":
        return {True: "yes", False: "no", None: "not known: it has no digest"}[value]
    if name == "shape" and isinstance(value, list):
        return "x".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "  ".join(f"{key} {_range(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def _range(value: Any) -> str:
    if isinstance(value, list):
        return ":".join(map(_range, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    info()
