"""lattice-flows transfer: carry a trained flow to other couplings or another lattice."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.io.interrupt import deferred
from lattice_flows.runs.config import Config
from lattice_flows.runs.options import Options
from lattice_flows.runs.resources import refuse_training
from lattice_flows.runs.rules import boundary, idle
from lattice_flows.scripts import _options, _output, _training, _values
from lattice_flows.scripts._command import Command, Failure

if TYPE_CHECKING:
    from lattice_flows.runs.run import Run


@click.command(cls=Command)
@click.argument("source", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("path", metavar="NEW_RUN", type=click.Path(path_type=Path))
@_options.lattice
@_options.couplings
@_training.options(defaults=False)
@click.option("--resume", is_flag=True, help="Carry NEW_RUN on; make it where there is none.")
@_training.save_every
@_options.output("Also write the summary of the run as JSON.", suffixes=(".json",))
@_options.common
def transfer(
    source: Path,
    path: Path,
    shape: tuple[int, ...] | None,
    given: _values.Given,
    resume: bool,
    save_every: float,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Carry a trained flow to other couplings or another lattice.

    NEW_RUN goes on from the flow of RUN. To a range of couplings it does so by transport: the flow
    stays as it is, and velocity fields through coupling space are trained, so that one solution of
    the flow's equation gives a whole scan. With another --sites or --shape, or --objective
    deformation, the flow itself is trained on, on the new lattice or couplings. Couplings not given
    are those of RUN.

    Settings not given are those of RUN where the flow is trained on, for 1000 --steps. Transport
    takes over --width, --learning-rate, --x64 and --seed, for 3000 steps of a --batch of 512, and
    twice the --ode-steps; --objective trade the same but for a batch of 1024 and a rate of 0.002.

    --objective trade wants a RUN trained with --points stretched: it keeps what RUN gets wrong
    draws at other couplings are. With a --boundary other than frozen the flow of RUN itself is
    trained on, held where it was trained by a loss.

    \b
    Examples:
      lattice-flows transfer runs/point runs/line --m 0.25:1
      lattice-flows transfer runs/point runs/large --sites 32
      lattice-flows transfer runs/wide runs/taught --m 0.25:1 --objective trade
      lattice-flows transfer runs/six runs/hot --beta 0.2:1 --objective trade --boundary samples
    """
    if resume and overwrite:
        raise click.UsageError("give --resume or --overwrite, not both")
    abandon = partial(_training.abandoned, path)
    with deferred(_training.notify, abandon) as interrupted:  # before jax is imported
        how = {"interrupted": interrupted, "save_every": save_every}
        carry_on = partial(_training.carry_on, **how)
        typed = _training.typed_settings(settings, shape=shape)
        run, reach = _transfer(source, path, typed, given, resume, overwrite, carry_on)
    _training.report(_training.summary(run) | {"before": reach}, output, as_json)


def _transfer(
    source: Path,
    path: Path,
    typed: Mapping[str, Any],
    given: _values.Given,
    resume: bool,
    overwrite: bool,
    carry_on: Callable[..., None],
) -> tuple["Run", list[dict[str, Any]] | None]:
    from lattice_flows.runs.run import Run, lock, refuse_occupied

    if source.resolve() in (path.resolve(), *path.resolve().parents):
        raise click.UsageError("NEW_RUN is RUN itself, or inside it: give another directory")
    old = Run.open(source)
    if not old.finished:
        raise Failure(f"{source} is not trained to its end: lattice-flows train {source} --resume")
    config, start = None, None
    if resume and Run.exists(path):
        run = Run.open(path)
        _training.refuse_contradictions(run, typed, given)
        if run.config.source is not None and run.config.source_config != old.config:
            raise Failure(
                f"{path} does not go on from {source}: give the RUN that it was made from"
            )
    else:
        refuse_occupied(path, overwrite)
        config = _config(old.config, typed, given)
        refuse_training(config)
        if config.x64:
            _options.use_double_precision()
        from lattice_flows.training.transfer import taken_over

        start = taken_over(config, old)  # all that may be refused is, before anything is written
    reach: list[dict[str, Any]] = []
    with lock(path):
        if config is None:
            run = Run.open(path)
        else:
            run = Run.create(path, config, overwrite=overwrite, start=start)
        _output.announce(run.config.theory, run.config.shape, run.config.couplings)
        carry_on(run, resume=True, begun=lambda: reach.extend(_reach(run)))
    return run, reach or None


def _reach(run: "Run") -> list[dict[str, Any]]:
    """What the flow is worth before it is trained on, told to the user, too."""
    from lattice_flows.sampling.evaluation import reach
    from lattice_flows.sampling.sampler import Sampler

    found = reach(Sampler.load(run), _options.command_key("transfer", run.config.seed))
    for point in found:
        where = ", ".join(f"{k} {v:g}" for k, v in point["couplings"].items())
        ess = "none, the flow diverges" if point["ess"] is None else f"{point['ess']:.3g}"
        _output.say(f"before training: ESS {ess} at {where}")
    return found


def _config(old: Config, typed: Mapping[str, Any], given: _values.Given) -> Config:
    """The settings of the old run, with what was typed in their place."""
    record = dataclasses.asdict(old)
    couplings = {**old.couplings, **_values.trained(old.theory, given)}
    elsewhere = typed.get("shape", old.shape) != old.shape
    objective = typed.get("objective", "deformation" if elsewhere else "transport")
    held = boundary(old.make_theory(), objective, typed.get("boundary", "auto"))
    carried = objective == "transport" or (objective, held) == ("trade", "frozen")
    if old.continues and not carried:
        raise Failure(
            "the flow of RUN is carried along by fields of its own and can't be trained on: "
            "give the RUN that it goes on from"
        )
    if old.method == "least-squares" and not carried:
        raise Failure(
            "the flow of RUN was found by least squares and can't be trained on: "
            "train a new run there, which takes no longer"
        )
    if carried and objective == "trade" and old.points != "stretched":
        _output.say(
            "note: TRADE keeps what RUN gets wrong: better train it with --points stretched"
        )
    kept = {**record, "steps": 1000, "source": None}
    if objective in ("transport", "trade"):
        acting = ("theory", "shape", "width", "learning_rate", "ode_steps", "x64", "seed")
        if objective == "trade" and held != "frozen":  # the flow of RUN is trained on
            acting += ("field", "base", "base_curvature", "base_width")
        kept = {name: record[name] for name in acting}
        kept |= {"steps": 3000, "batch": 512, "source": record}
        if carried:  # fields through coupling space are stiffer: they pull wells out of one
            kept["ode_steps"] = 2 * old.ode_steps
    if objective == "trade":
        kept |= {"batch": 1024, "learning_rate": 0.002}
    whole = {**kept, **typed, "objective": objective, "couplings": couplings}
    lost = idle(Options(**whole)).keys() - typed.keys()  # what acted in the old run alone
    return Config(**{name: value for name, value in whole.items() if name not in lost})


if __name__ == "__main__":
    transfer()
