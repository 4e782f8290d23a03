"""lattice-flows train: make a run, or carry one on."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.io.interrupt import deferred
from lattice_flows.runs.config import Config
from lattice_flows.runs.options import Options
from lattice_flows.runs.resources import refuse_training
from lattice_flows.runs.rules import method
from lattice_flows.scripts import _options, _output, _theories, _training, _values
from lattice_flows.scripts._command import Command, Failure
from lattice_flows.scripts._words import as_typed

if TYPE_CHECKING:
    from lattice_flows.runs.run import Run


@click.command(cls=Command)
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@_theories.named
@_options.lattice
@_options.couplings
@_training.options(defaults=True)
@click.option("--resume", is_flag=True, help="Carry the run on; make it where there is none.")
@_training.save_every
@_options.output("Also write the summary of the run as JSON.", suffixes=(".json",))
@_options.common
def train(
    path: Path,
    theory: str | None,
    shape: tuple[int, ...] | None,
    given: _values.Given,
    resume: bool,
    save_every: float,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a flow from the action alone.

    The run is kept in the directory RUN. A coupling takes a value (--m 0.5) or a continuous range
    (--m 0.25:1) for a flow conditioned on it. An interrupted training (Ctrl-C, SIGTERM, SIGUSR1,
    SIGHUP, SIGXCPU) is saved and leaves with code 75; --resume carries it on and needs no other
    flag. A range for the double well's --m varies mass and mu independently.

    \b
    Examples:
      lattice-flows train runs/cycle --theory phi4 --sites 16 --m 0.25:1
      lattice-flows train runs/cycle --resume
    """
    if resume and overwrite:
        raise click.UsageError("give --resume or --overwrite, not both")

    abandon = partial(_training.abandoned, path)
    with deferred(_training.notify, abandon) as interrupted:  # before jax is imported
        how = {"interrupted": interrupted, "save_every": save_every}
        carry_on = partial(_training.carry_on, **how)
        typed = _training.typed_settings(settings, theory, shape)
        run = _train(path, typed, given, resume, overwrite, carry_on)
    _training.report(_training.summary(run), output, as_json)


def _train(
    path: Path,
    typed: Mapping[str, Any],
    given: _values.Given,
    resume: bool,
    overwrite: bool,
    carry_on: Callable[..., None],
) -> "Run":
    from lattice_flows.runs.run import Run, lock

    config, told = None, ""
    if resume and Run.exists(path):
        _training.refuse_contradictions(Run.open(path), typed, given)
    else:
        config, told = _new_config(path, typed, given, resume)
    with lock(path):
        run = Run.create(path, config, overwrite=overwrite) if config else Run.open(path)
        _output.announce(run.config.theory, run.config.shape, run.config.couplings)
        if told:
            _output.say(told)
        carry_on(run, resume=resume)
        return run


def _new_config(
    path: Path, typed: Mapping[str, Any], given: _values.Given, resume: bool
) -> tuple[Config, str]:
    """The configuration, and what to say of the choices that were made."""
    import theories

    needed = [("theory", "--theory"), ("shape", "--sites")]
    if "theory" in typed and theories.find(typed["theory"]).own_shape is not None:
        needed.pop()
    missing = [hint for name, hint in needed if name not in typed]
    if missing:
        why = f"there is no run at {path} to resume; " if resume else ""
        raise click.UsageError(f"{why}a new run needs {' and '.join(missing)}")
    if typed.get("objective") in ("transport", "trade"):
        raise Failure(
            "--objective transport or trade goes on from a trained flow, and no other does: "
            "lattice-flows transfer RUN NEW_RUN"
        )
    options = {"couplings": _values.trained(typed["theory"], given), **typed}
    config = Config(**options)
    refuse_training(config)  # before anything is written
    chosen, why = method(config.make_theory(), Options(**options))
    told = as_typed(f"method {chosen}: {why}")
    return config, told if "method" not in typed and len(config.shape) > 1 else ""


if __name__ == "__main__":
    train()
