"""What commands say: results on stdout, as text or as one JSON object; the rest on stderr."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.scripts._command import UNRELIABLE, Failure

if TYPE_CHECKING:
    from lattice_flows.ensemble import Ensemble
    from observables import Measurement


def say(message: str) -> None:
    """A remark for the person, not the result."""
    click.echo(message, err=True)


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
    import theories

    on_lattice = issubclass(theories.find(result["theory"]), theories.LatticeTheory)
    shape = "x".join(map(str, result["shape"]))
    couplings = "  ".join(f"{name} {value:g}" for name, value in result["couplings"].items())
    return f"{result['theory']}  {shape} {'sites' if on_lattice else 'dimensions'}  {couplings}"


def readable(result: Mapping[str, Any]) -> str:
    """A result of `exact`, `evaluate` or `measure` as text, with exact answers where it has any."""
    exact = result.get("exact") or {}
    measured = {**result["observables"], "log_z": result["log_z"], **result.get("derivatives", {})}
    rows = [
        (name, quantity(pair), f"exact {exact[name]:.8g}" if exact.get(name) is not None else "")
        for name, pair in measured.items()
    ]
    shown = {"theory", "shape", "couplings", "observables", "log_z", "derivatives", "exact"}
    shown |= {f"{name}_stderr" for name in result}
    rows += [
        (name, _text(_with_error(result, name)), "")
        for name, value in result.items()
        if name not in shown and value is not None
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

    return f"{value:.8g} (no error)" if stderr is None else str(Estimate(value, stderr))


def deliver(
    results: Sequence[Mapping[str, Any]],
    as_json: bool,
    output: Path | None,
    save: Callable[[Path], None],
) -> None:
    """Show results on stdout, and write them to `output`: JSON for .json, else by `save`.

    One result is its own JSON object; several are the list "points" of one object.
    """
    whole = results[0] if len(results) == 1 else {**_shared(results[0]), "points": list(results)}
    text = json_text(whole)  # made first: what cannot be reported is not written either
    if as_json:
        click.echo(text)
    else:
        click.echo(readable(results[0]) if len(results) == 1 else summary(results))
    if output is not None and output.suffix == ".json":  # then: what cannot be written is not lost
        write_json(output, whole)
    elif output is not None:
        save(output)


def _shared(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("theory", "shape")}


def measured(ensemble: "Ensemble", measurement: "Measurement") -> dict[str, Any]:
    """What was measured on an ensemble, as a result."""
    from lattice_flows.ensemble import config_of

    return config_of(ensemble.theory, ensemble.couplings) | measurement.as_json()


def check_reliable(*results: Mapping[str, Any]) -> None:
    """Leave with exit code 3 where a result must not be relied on."""
    if bad := [result for result in results if not result["reliable"]]:
        worst = min(bad, key=lambda result: result["ess"])
        raise Failure(f"unreliable: {_why(worst)}", UNRELIABLE)


def _why(result: Mapping[str, Any]) -> str:
    """What is wrong with an unreliable result, and what may mend it."""
    if "r_hat" in result:
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
    return (
        f"effective sample size {result['ess']:.2g} of {result['n']} draws, largest weight "
        f"{result['max_weight_share']:.2g} ({headline(result)}); draw more, or train longer"
    )


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as a JSON file, whole or not at all."""
    from lattice_flows.files import atomic_write

    text = json_text(result) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    atomic_write(path, write)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and value.keys() == {"value", "stderr"}:
        return quantity(value)
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
