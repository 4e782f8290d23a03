"""lattice-flows train: make a run, or carry one on."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.config import Config, flag, show
from lattice_flows.interrupt import Interrupted, deferred
from lattice_flows.scripts import _options, _output, _values
from lattice_flows.scripts._command import Command, Failure
from lattice_flows.scripts._progress import progress

if TYPE_CHECKING:
    from lattice_flows.run import Run

TRAINING = [f for f in dataclasses.fields(Config) if f.metadata and f.name != "seed"]
"""The fields of Config that have a flag of their own here."""


def _training_options(command: Callable) -> Callable:
    for field in reversed(TRAINING):
        choices, default = field.metadata["choices"], field.default
        command = click.option(
            flag(field.name),
            field.name,
            type=click.Choice(choices) if choices else type(default),
            is_flag=default is False,
            default=None,  # to know what was typed: --resume refuses what contradicts the run
            help=field.metadata["help"] + ("" if default is False else f"  [default: {default}]"),
        )(command)
    return command


@click.command(cls=Command)
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--theory", help="phi4, double-well, free-field, many-well, gmm-2, gmm-4 or gmm-40.")
@_options.lattice
@_options.couplings
@_training_options
@click.option("--resume", is_flag=True, help="Carry the run on; make it where there is none.")
@_options.output("Also write the summary of the run as JSON.")
@_options.common
def train(
    path: Path,
    theory: str | None,
    shape: tuple[int, ...] | None,
    given: _values.Given,
    resume: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a flow from the action alone.

    The run is kept in the directory RUN. A coupling takes a value (--m 0.5) or a continuous range
    (--m 0.25:1) for a flow conditioned on it. An interrupted training (Ctrl-C, SIGTERM, SIGUSR1)
    is saved and leaves with code 75; --resume carries it on and needs no other flag. A range for
    the double well's --m varies mass and mu independently.

    \b
    Examples:
      lattice-flows train runs/cycle --theory phi4 --sites 16 --m 0.25:1
      lattice-flows train runs/cycle --resume
    """
    if resume and overwrite:
        raise click.UsageError("give --resume or --overwrite, not both")

    def notify(signal: str) -> None:
        _output.say(f"{signal}: saving after this step (Ctrl-C again stops at once)")

    with deferred(notify) as interrupted:  # before jax is imported
        typed = {name: value for name, value in settings.items() if value is not None}
        typed |= {"theory": theory} if theory is not None else {}
        typed |= {"shape": shape} if shape is not None else {}
        run = _train(path, typed, given, resume, overwrite, interrupted)
    summary = _summary(run)
    if output is not None:
        _output.write_json(output, summary)
    if as_json:
        click.echo(_output.json_text(summary))


def _train(
    path: Path,
    typed: Mapping[str, Any],
    given: _values.Given,
    resume: bool,
    overwrite: bool,
    interrupted: Callable[[], bool],
) -> "Run":
    from lattice_flows.run import Run, lock

    config = None
    if resume and Run.exists(path):
        _refuse_contradictions(Run.open(path), typed, given)
    else:
        config = _new_config(path, typed, given, resume)
    with lock(path):
        run = Run.create(path, config, overwrite=overwrite) if config else Run.open(path)
        if run.finished:
            _output.say(
                f"{path} is finished: {run.config.steps} steps on {run.config.trained_on()}"
            )
            return run
        if changes := run.version_changes() if resume else []:
            _output.say(f"note: {', '.join(changes)} since {path} began; numbers may differ")
        if run.config.x64:
            _options.use_double_precision()
        from lattice_flows.training import train as run_training

        try:
            with progress(f"train {path}", run.config.steps) as report:
                run_training(run, resume=resume, report=report, interrupted=interrupted)
        except Interrupted as error:
            again = f"lattice-flows train {shlex.quote(str(path))} --resume"
            raise Interrupted(f"{path} is interrupted and saved; to go on: {again}") from error
        run.finish()
        _output.say(f"{path} is trained on {run.config.trained_on()}")
        return run


def _new_config(path: Path, typed: Mapping[str, Any], given: _values.Given, resume: bool) -> Config:
    import theories

    needed = [("theory", "--theory"), ("shape", "--sites")]
    if "theory" in typed and theories.find(typed["theory"]).own_shape is not None:
        needed.pop()
    missing = [hint for name, hint in needed if name not in typed]
    if missing:
        why = f"there is no run at {path} to resume; " if resume else ""
        raise click.UsageError(f"{why}a new run needs {' and '.join(missing)}")
    return Config(couplings=_values.trained(typed["theory"], given), **typed)


def _refuse_contradictions(run: "Run", typed: Mapping[str, Any], given: _values.Given) -> None:
    """A run keeps what it was made with: flags that say otherwise are refused."""
    config, asked = run.config, dict(typed)
    theory = asked.pop("theory", config.theory)
    wrong = [] if theory == config.theory else [("theory", config.theory, theory)]
    if not wrong:
        couplings = _values.trained(theory, given)
        wrong += [
            (name, show(config.couplings[name]), show(value))
            for name, value in couplings.items()
            if config.couplings[name] != value
        ]
    wrong += [
        (name, getattr(config, name), value)
        for name, value in asked.items()
        if getattr(config, name) != value
    ]
    if wrong:
        name, kept, new = wrong[0]
        raise Failure(
            f"{run.path} was made with {name} {_shown(kept)}, not {_shown(new)}: "
            "drop the flag to carry it on, or train a new run"
        )


def _shown(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _summary(run: "Run") -> dict[str, Any]:
    config, history = run.config, run.history()
    return {
        "run": str(run.path),
        "theory": config.theory,
        "shape": list(config.shape),
        "couplings": {
            k: list(v) if isinstance(v, tuple) else v for k, v in config.couplings.items()
        },
        "steps": config.steps,
        "finished": run.finished,
        "last": history[-1] if history else None,
    }


if __name__ == "__main__":
    train()
