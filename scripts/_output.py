"""What commands say: results on stdout, as text or as one JSON object; the rest on stderr."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite, isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from lattice_flows.scripts import _streams
from lattice_flows.scripts._command import Failure

if TYPE_CHECKING:
    from lattice_flows.ensembles.result import Result
    from lattice_flows.sampling.sampler import Sampler
    from observables import Estimate


def say(message: str) -> None:
    """A remark for the person, not the result."""
    click.echo(message, err=True)


def announce(
    theory: str, shape: Sequence[int], couplings: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> None:
    """Say, before the work, what it is on: the theory, its lattice and every coupling in use.

    `couplings` are values or ranges by name, or several points. Quiet with --json, whose object
    names them.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("as_json"):
        return
    if not isinstance(couplings, Mapping):
        values = {name: sorted({point[name] for point in couplings}) for name in couplings[0]}
        couplings = {name: _span(several) for name, several in values.items()}
    from lattice_flows.runs.options import show as shown

    words = {k: v if isinstance(v, str) else shown(v) for k, v in couplings.items()}
    say(_headline(theory, shape, words))


def _span(values: Sequence[float]) -> str:
    from lattice_flows.runs.options import show as shown

    ends = (values[0], values[-1])
    return shown(ends[0]) if len(values) == 1 else f"{shown(ends)}:{len(values)}"


def json_text(result: Mapping[str, Any]) -> str:
    """One JSON object. Raises Failure for a number that is not finite, rather than hiding it."""
    try:
        return json.dumps(result, indent=2, allow_nan=False, default=_plain)
    except ValueError:
        bad = ", ".join(_not_finite(result)) or "a value"
        raise Failure(f"{bad} is not a finite number: the result cannot be reported") from None


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of text in aligned columns, the first to the left, the others to the right."""
    rows = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def headline(result: "Result") -> str:
    """Theory, lattice and couplings of a result in one line."""
    words = {name: f"{value:g}" for name, value in result.values.items()}
    return _headline(result.theory.name, result.theory.shape, words)


def _headline(theory: str, shape: Sequence[int], couplings: Mapping[str, str]) -> str:
    import theories

    on_lattice = issubclass(theories.find(theory), theories.LatticeTheory)
    size = "x".join(map(str, shape)) + (" sites" if on_lattice else " dimensions")
    return "  ".join([theory, size, *(f"{name} {value}" for name, value in couplings.items())])


def readable(result: "Result") -> str:
    """A result as text, with exact answers where it has any."""
    exact = result.exact or {}
    found = {name: quantity(one) for name, one in result.observables.items()}
    found |= {name: _text(profile.tolist()) for name, profile in result.profiles.items()}
    found |= {name: quantity(one) for name, one in result.estimates.items()}
    found |= {name: _text(detail) for name, detail in result.details.items() if _is_known(detail)}
    rows = [
        (name, text, "" if isnan(exact.get(name, nan)) else f"exact {exact[name]:.8g}")
        for name, text in found.items()
    ]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    lines = (f"  {name:<{widths[0]}}  {text:<{widths[1]}}  {more}" for name, text, more in rows)
    return "\n".join([headline(result), *(line.rstrip() for line in lines)])


def _value(detail: Any) -> Any:
    """A detail without its error."""
    return detail[0] if isinstance(detail, tuple) else detail


def _is_known(detail: Any) -> bool:
    value = _value(detail)
    if isinstance(value, float):
        return isfinite(value)
    return value is not None and value != []


def summary(results: Sequence["Result"]) -> str:
    """Results at several coupling points as a table, a line for each; files and --json hold all."""
    first = results[0]
    varying = [k for k in first.values if any(r.values[k] != first.values[k] for r in results)]
    columns = [n for n in _COLUMNS if n in first.observables] or list(first.observables)[:4]
    judged = [name for name in ("ess_forward", "kl_reverse") if name in first.details]
    header = [*varying, *columns, "log_z", "ess", *judged]
    rows = []
    for result in results:
        ess, trust = result.details["ess"], "" if result.reliable else " unreliable"
        row = [
            *(f"{result.values[name]:.6g}" for name in varying),
            *(quantity(result.observables[name]) for name in columns),
            quantity(result.log_z),
            "-" if ess is None else f"{ess:.3f}{trust}",
        ]
        for name in judged:
            detail = result.details[name]
            row.append(f"{_value(detail):.3g}" if _is_known(detail) else "-")
        rows.append(row)
    return table([header, *rows])


_COLUMNS = ("magnetization", "abs_magnetization", "susceptibility_abs", "binder_cumulant")


def quantity(estimate: "Estimate | None") -> str:
    """A value with its error, as text; an exact value (error 0) without one."""
    if estimate is None or isnan(estimate.value):
        return "-"
    if estimate.stderr == 0:
        return f"{estimate.value:.10g}"
    return str(estimate) if isfinite(estimate.stderr) else f"{estimate.value:.8g} (no error)"


def deliver(
    results: Sequence["Result"],
    as_json: bool,
    output: Path | None,
    save: Callable[[Path], None],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Show results on stdout, and write them to `output`: JSON for .json, else by `save`.

    One result is its own JSON object; several are the list "points" of one object. A JSON file
    holds `extra` keys, too. Written first: what cannot be shown is not lost. What cannot be written
    is shown all the same.
    """
    points = [result.as_json() for result in results]
    whole = points[0] if len(points) == 1 else {**_shared(points[0]), "points": points}
    text = json_text(whole)  # made first: what cannot be reported is not written either
    if not as_json:
        text = readable(results[0]) if len(results) == 1 else summary(results)
    write_and_show(text, output, {**whole, **(extra or {})}, save)


def write_and_show(
    text: str, output: Path | None, result: Mapping[str, Any], save: Callable[[Path], None]
) -> None:
    """Write a result to `output`, JSON for .json, else by `save`; then show `text` in any case."""
    try:
        if output is not None and output.suffix == ".json":
            write_json(output, result)
        elif output is not None:
            save(output)
    finally:
        show(text)


def show(text: str) -> None:
    """Print a result. Raises Failure where standard output cannot take it.

    Where its reader has gone, BrokenPipeError is left to Click, which ends quietly.
    """
    try:
        if sys.stdout is None:  # closed before this process began
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        _streams.silence(sys.stdout)
        raise Failure(
            f"standard output cannot be written ({error.strerror or error}): "
            "what was to be saved is saved, what was to be shown is lost"
        ) from error


def _shared(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("theory", "shape")}


def note_unfinished(sampler: "Sampler") -> None:
    """Say so where a flow's training has not come to its end; files say so in their provenance."""
    at = sampler.provenance
    if not at["finished"]:
        say(f"note: {at['run']} is at step {at['step']} of {at['steps']}")


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as a JSON file, whole or not at all."""
    from lattice_flows.io.netcdf import atomic_write

    text = json_text(result) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    atomic_write(path, write)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return quantity(cast("Estimate", value))
    if isinstance(value, Mapping):
        return "  ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """numpy and jax scalars and arrays as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in a result")


def _not_finite(value: Any, name: str = "") -> list[str]:
    """The names of the numbers in a result that are not finite."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return [x for k, v in value.items() for x in _not_finite(v, f"{name}.{k}" if name else k)]
    if isinstance(value, list | tuple):
        return [name] if any(_not_finite(v, name) for v in value) else []
    return [name] if isinstance(value, float) and value - value != 0 else []
