"""What the commands that train share: the flags of a training, and its course."""

import dataclasses
import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.io.interrupt import Interrupted
from lattice_flows.runs.config import Config
from lattice_flows.runs.options import flag, show
from lattice_flows.scripts import _options, _output, _values
from lattice_flows.scripts._command import Failure
from lattice_flows.scripts._progress import progress

if TYPE_CHECKING:
    from lattice_flows.runs.run import Run

FIELDS = [f for f in dataclasses.fields(Config) if f.metadata and f.name != "seed"]
"""The fields of Config that have a flag of their own."""


def options(*, defaults: bool) -> Callable[[Callable], Callable]:
    """A flag for each of `FIELDS`; the help names their `defaults` where those are what acts."""

    def decorate(command: Callable) -> Callable:
        for field in reversed(FIELDS):
            default = field.default
            told = f"  [default: {default}]" if defaults and default is not False else ""
            command = click.option(
                flag(field.name),
                field.name,
                type=_type(field),
                is_flag=default is False,
                default=None,  # to know what was typed: --resume refuses what contradicts the run
                help=field.metadata["help"] + told,
            )(command)
        return command

    return decorate


def _type(field: dataclasses.Field) -> Any:
    """Of the option of a field."""
    told = field.metadata
    if not told["choices"]:
        return type(field.default)
    return _options.ChoiceType(told["choices"], told["formerly"], told["outside"])


class Seconds(click.FloatRange):
    """A finite number: click's own range takes NaN for one of its numbers."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is not a finite number", param, ctx)
        return seconds


save_every = click.option(
    "--save-every",
    type=Seconds(0, 86400),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Save the state at least this often; it is saved every 100 steps, too.",
)


def notify(signal: str) -> None:
    """Say that a signal was received."""
    _output.say(f"{signal}: saving after this step (Ctrl-C again stops at once)")


def abandoned(path: Path) -> str:
    """What is left of a run whose process is ended while jax compiles.

    Imports nothing: the thread that is given up may be at that, and holds locks.
    """
    if (path / "config.json").is_file():
        begun = (path / "checkpoint.npz").is_file()
        kept = "its last checkpoint is kept" if begun else "it is to begin"
        return f"{path} is interrupted, {kept}; to go on: {_again(path)}"
    return f"interrupted before {path} was made: run the command again"


def _again(path: Path) -> str:
    return f"lattice-flows train {shlex.quote(str(path))} --resume"


def typed_settings(
    settings: Mapping[str, Any], theory: str | None = None, shape: tuple[int, ...] | None = None
) -> dict[str, Any]:
    """Those of a training's settings that were typed."""
    typed = {name: value for name, value in settings.items() if value is not None}
    typed |= {"theory": theory} if theory is not None else {}
    return typed | ({"shape": shape} if shape is not None else {})


def carry_on(
    run: "Run",
    *,
    resume: bool,
    interrupted: Callable[[], bool],
    save_every: float,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Train a locked run to its end, from its checkpoint where `resume`; finished ones stay.

    `begun` is called when the first checkpoint of a run stands.

    Raises Interrupted, with the command that goes on, once its state is saved.
    """
    if run.finished:
        if run.has_checkpoint:
            from lattice_flows.sampling.sampler import Sampler

            Sampler.load(run)  # refuses parameters that are not finite
        _output.say(
            f"{run.path} is finished: {run.config.steps} steps on {run.config.trained_on()}"
        )
        return
    if run.config.x64:
        _options.use_double_precision()
    from lattice_flows.training.trainer import train as run_training

    try:
        with progress(f"train {run.path}", run.config.steps) as report:
            run_training(
                run,
                resume=resume,
                report=report,
                interrupted=interrupted,
                save_every=save_every,
                begun=begun,
            )
    except Interrupted as error:
        raise Interrupted(
            f"{run.path} is interrupted and saved; to go on: {_again(run.path)}"
        ) from error
    run.finish()
    _output.say(f"{run.path} is trained on {run.config.trained_on()}")


def report(summary: Mapping[str, Any], output: Path | None, as_json: bool) -> None:
    """Write and print the summary of a run."""
    if output is not None:
        _output.write_json(output, summary)
    if as_json:
        _output.show(_output.json_text(summary))


def refuse_contradictions(run: "Run", typed: Mapping[str, Any], given: _values.Given) -> None:
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


def summary(run: "Run") -> dict[str, Any]:
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
