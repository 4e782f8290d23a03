"""lattice-flows reproduce: a paper's table or figure, ours beside theirs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.io.interrupt import deferred
from lattice_flows.papers import EXPERIMENTS, find
from lattice_flows.scripts import _options, _output, _training
from lattice_flows.scripts._command import Command
from lattice_flows.scripts._progress import progress

if TYPE_CHECKING:
    from lattice_flows.papers.record import Record
    from observables import Estimate

_WIDTH = max(map(len, EXPERIMENTS))
_KNOWN = "\n".join(f"  {name:<{_WIDTH}}  {what}" for name, what in EXPERIMENTS.items())


@click.command(cls=Command, epilog=f"\b\nExperiments:\n{_KNOWN}")
@click.argument("name")
@click.option(
    "--preset",
    type=click.Choice(["quick", "paper"]),
    help="Experiments that train: minutes, or as long as the paper's own.  [default: quick]",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Experiments that train: how many times, from --seed on.  [default: 1]",
)
@click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Experiments that train: where their runs are kept.  [default: runs]",
)
@_options.output("Write table and data: JSON (the table alone) if FILE ends in .json, else netCDF.")
@click.option(
    "--plot", "figure", type=click.Path(path_type=Path), metavar="FIGURE", help="Draw the figure."
)
@_options.x64
@_options.common
def reproduce(
    name: str,
    output: Path | None,
    overwrite: bool,
    figure: Path | None,
    as_json: bool,
    seed: int | None,
    **given: Any,
) -> None:
    """A paper's table or figure, ours beside theirs.

    Every number that the paper prints, ours, and the exact one where it is known. Experiments that
    train keep their runs in DIR: one that was interrupted (it leaves with code 75) is carried on by
    the same command, and a finished one is used as it is. Experiments that train nothing refuse
    --preset, --seeds and --runs. Numbers are evaluated in double precision: --x64 changes nothing.

    \b
    Examples:
      lattice-flows reproduce table2 --seeds 3 -o table2.nc --plot table2.png
      lattice-flows reproduce teleportation -o teleportation.nc --plot teleportation.png
    """
    if figure is not None:
        _options.refuse_figure(figure, output, overwrite)
    experiment = find(name)
    typed = {option: value for option, value in given.items() if value is not None}
    if typed and not experiment.trains:
        raise click.UsageError(f"{name} has no use for --{next(iter(typed))}: leave it out")

    _options.use_double_precision()

    from lattice_flows.papers.experiment import Settings
    from lattice_flows.papers.record import reproduce as run_experiment

    with deferred(_training.notify, lambda: _ABANDONED) as interrupted:
        settings = Settings(seed=seed or 0, progress=progress, interrupted=interrupted, **typed)
        record = run_experiment(experiment, settings)
    result = record.as_json()
    text = _output.json_text(result)  # first: what cannot be reported is not written either
    try:
        if output is not None and output.suffix == ".json":
            _output.write_json(output, result)
        elif output is not None:
            record.save(output)
        if figure is not None:
            from lattice_flows.figures.plots import save_figure

            save_figure(record.figure(), figure)
    finally:  # what cannot be written is not lost
        _output.show(text if as_json else _readable(record))


_ABANDONED = "interrupted; runs are kept up to their last checkpoint: give the same command again"


def _readable(record: "Record") -> str:
    header = ["quantity", "paper", "ours", "exact"]
    rows = [
        [row.quantity, _cell(row.paper), _cell(row.ours), _number(row.exact)] for row in record.rows
    ]
    experiment = record.experiment
    title = f"{experiment.name}: {experiment.title}"
    return "\n".join([title, experiment.references, "", _output.table([header, *rows])])


def _cell(estimate: "Estimate | None") -> str:
    # an error of rounding alone is none
    if estimate is None or estimate.stderr <= 1e-12 * abs(estimate.value):
        return _number(None if estimate is None else estimate.value)
    return _output.quantity(estimate)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.7g}"


if __name__ == "__main__":
    reproduce()
