"""lattice-flows reproduce: a paper's table or figure, ours beside theirs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from lattice_flows.reproduce import EXPERIMENTS, find
from lattice_flows.scripts import _options, _output
from lattice_flows.scripts._command import Command
from lattice_flows.scripts._progress import progress

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
    type=click.IntRange(1),
    metavar="N",
    help="Experiments that train: how many times, from --seed on.  [default: 1]",
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
    train nothing refuse --preset and --seeds and hold no randomness. Everything is in double
    precision: --x64 changes nothing.

    \b
    Example:
      lattice-flows reproduce teleportation -o teleportation.nc --plot teleportation.png
    """
    if figure is not None:
        _options.refuse_existing(figure, overwrite)
    experiment = find(name)
    typed = {option: value for option, value in given.items() if value is not None}
    if unused := [option for option in typed if option not in experiment.options]:
        raise click.UsageError(f"{name} has no use for --{unused[0]}: leave it out")

    _options.use_double_precision()

    from lattice_flows.reproduce.experiment import Settings

    record = experiment.reproduce(Settings(seed=seed or 0, progress=progress, **typed))
    result = record.as_json()
    text = _output.json_text(result)  # first: what cannot be reported is not written either
    if output is not None and output.suffix == ".json":
        _output.write_json(output, result)
    elif output is not None:
        record.save(output)
    if figure is not None:
        from lattice_flows.plots import save_figure

        save_figure(record.figure(), figure)
    click.echo(text if as_json else _readable(result))


def _readable(result: Mapping[str, Any]) -> str:
    header = ["quantity", "paper", "ours", "exact"]
    rows = [
        [row["quantity"], _cell(row["paper"]), _cell(row["ours"]), _number(row["exact"])]
        for row in result["rows"]
    ]
    title = f"{result['experiment']}: {result['title']}"
    return "\n".join([title, result["references"], "", _output.table([header, *rows])])


def _cell(pair: Mapping[str, float] | None) -> str:
    if pair is None or pair["stderr"] == 0:
        return _number(None if pair is None else pair["value"])
    return _output.quantity(pair)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.7g}"


if __name__ == "__main__":
    reproduce()
