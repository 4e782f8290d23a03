"""What commands say: results on stdout, as text or as one JSON object; the rest on stderr."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.scripts import _streams
from lattice_flows.scripts._command import UNRELIABLE, Failure

if TYPE_CHECKING:
    from lattice_flows.sampling.sampler import Sampler


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


def headline(result: Mapping[str, Any]) -> str:
    """Theory, lattice and couplings of a result in one line."""
    words = {name: f"{value:g}" for name, value in result["couplings"].items()}
    return _headline(result["theory"], result["shape"], words)


def _headline(theory: str, shape: Sequence[int], couplings: Mapping[str, str]) -> str:
    import theories

    on_lattice = issubclass(theories.find(theory), theories.LatticeTheory)
    size = "x".join(map(str, shape)) + (" sites" if on_lattice else " dimensions")
    return "  ".join([theory, size, *(f"{name} {value}" for name, value in couplings.items())])


def readable(result: Mapping[str, Any]) -> str:
    """A result of `exact`, `evaluate` or `measure` as text, with exact answers where it has any."""
    exact = result.get("exact") or {}
    measured = {**result["observables"], "log_z": result["log_z"], **result.get("derivatives", {})}
    rows = [
        (name, quantity(pair), f"exact {exact[name]:.8g}" if exact.get(name) is not None else "")
        for name, pair in measured.items()
    ]
    shown = {
        "theory",
        "theory_from",
        "shape",
        "couplings",
        "observables",
        "log_z",
        "derivatives",
        "exact",
    }
    shown |= {f"{name}_stderr" for name in result}
    rows += [
        (name, _text(_with_error(result, name)), "")
        for name, value in result.items()
        if name not in shown and value is not None and value != []
    ]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    lines = (f"  {name:<{widths[0]}}  {text:<{widths[1]}}  {more}" for name, text, more in rows)
    return "\n".join([headline(result), *(line.rstrip() for line in lines)])


def _with_error(result: Mapping[str, Any], name: str) -> Any:
    """A number as a pair with its NAME_stderr, where the result has one."""
    stderr = result.get(f"{name}_stderr")
    return result[name] if stderr is None else {"value": result[name], "stderr": stderr}


def summary(results: Sequence[Mapping[str, Any]]) -> str:
    """Results at several coupling points as a table, a line for each; files and --json hold all."""
    first = results[0]["couplings"]
    varying = [k for k in first if any(r["couplings"][k] != first[k] for r in results)]
    observables = results[0]["observables"]
    columns = [name for name in _COLUMNS if name in observables] or list(observables)[:4]
    judged = [name for name in ("ess_forward", "kl_reverse") if name in results[0]]
    header = [*varying, *columns, "log_z", "ess", *judged]
    rows = [
        [
            *(f"{r['couplings'][name]:.6g}" for name in varying),
            *(quantity(r["observables"].get(name)) for name in columns),
            quantity(r["log_z"]),
            "-"
            if r["ess"] is None
            else f"{r['ess']:.3f}" + ("" if r["reliable"] else " unreliable"),
            *("-" if r[name] is None else f"{r[name]:.3g}" for name in judged),
        ]
        for r in results
    ]
    return table([header, *rows])


_COLUMNS = ("magnetization", "abs_magnetization", "susceptibility_abs", "binder_cumulant")


def quantity(pair: Mapping[str, Any] | None) -> str:
    """A value with its error, as text; an exact value (error 0) without one."""
    if pair is None:
        return "-"
    value, stderr = pair["value"], pair["stderr"]
    if isinstance(value, list):
        return " ".join(f"{x:.6g}" for x in value)
    if value is None:
        return "-"
    if stderr == 0:
        return f"{value:.10g}"
    from observables.estimate import Estimate

    ends = tuple(pair["interval_68"]) if pair.get("interval_68") else None
    return f"{value:.8g} (no error)" if stderr is None else str(Estimate(value, stderr, ends))


def deliver(
    results: Sequence[Mapping[str, Any]],
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
    whole = results[0] if len(results) == 1 else {**_shared(results[0]), "points": list(results)}
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


def check_reliable(*results: Mapping[str, Any]) -> None:
    """Leave with exit code 3 where a result must not be relied on."""
    if bad := [result for result in results if not result["reliable"]]:
        worst = max(bad, key=lambda result: (len(result.get("failed", ())), -result["ess"]))
        raise Failure(f"unreliable: {_why(worst)}", UNRELIABLE)


def note_unfinished(sampler: "Sampler") -> None:
    """Say so where a flow's training has not come to its end; files say so in their provenance."""
    at = sampler.provenance
    if not at["finished"]:
        say(f"note: {at['run']} is at step {at['step']} of {at['steps']}")


_MENDED = {
    "effective_draws": "too few effective draws: draw more, or train longer",
    "weight_share": "one draw has too much of the weight: draw more, or train longer",
    "overlap": "the flow overlaps too little with the target: train longer",
    "invariance": "moves that preserve the target change the draws, so the flow misses a part of "
    "it: train longer, or nearer to these couplings",
    "forward_ess": "the flow misses a part of the target: train longer, or nearer to these "
    "couplings",
    "not_finite": "the flow diverges, from samples of the target or with more steps: train longer, "
    "or with more --ode-steps",
    "log_z": "log Z is wrong: train longer, or with more --ode-steps",
    "exact": "an observable is wrong: train longer, or with more --ode-steps",
    "hmc": "an observable disagrees with HMC: train longer, or with more --ode-steps",
    "errors": "an error cannot be told: draw more",
}
"""What a failed check means and what may mend it."""


def _why(result: Mapping[str, Any]) -> str:
    """What is wrong with an unreliable result, and what may mend it."""
    failed = result.get("failed") or ["effective_draws"]
    if "mixing" in failed:
        tau, r_hat, agreement = (
            "unknown" if result[name] is None else f"{result[name]:.3g}"
            for name in ("tau_int", "r_hat", "agreement")
        )
        frozen = f", {result['frozen_chains']} frozen" if result["frozen_chains"] else ""
        return (
            f"{result['n']} draws with an autocorrelation time of {tau}; R-hat {r_hat}, agreement "
            f"of the chains {agreement}{frozen} ({headline(result)}); draw more of each chain, or "
            "further apart (hmc --every)"
        )
    numbers = [
        f"effective sample size {result['ess']:.2g} of {result['n']} draws",
        f"largest weight {result['max_weight_share']:.2g}",
    ]
    if found := result.get("invariance"):
        numbers.append(f"invariance {found['statistic']:.2g} ({found['threshold']:.2g} allowed)")
    if result.get("ess_forward") is not None:
        numbers.append(f"forward ESS {result['ess_forward']:.2g}")
    if bad := result.get("forward_not_finite"):
        numbers.append(f"log q not finite at samples of p ({result['forward_source']}): {bad}")
    reasons = "; ".join(f"{name}: {_MENDED[name]}" for name in failed)
    return f"{', '.join(numbers)} ({headline(result)}); {reasons}"


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
    if isinstance(value, Mapping) and {"value", "stderr"} <= value.keys():
        return quantity(value)
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
