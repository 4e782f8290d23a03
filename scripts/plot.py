"""lattice-flows plot: the figure of a file."""

from pathlib import Path

import click

from lattice_flows.scripts import _options, _output
from lattice_flows.scripts._command import Command


@click.command(cls=Command)
@click.argument("path", metavar="FILE.nc", type=click.Path(path_type=Path))
@click.option("--exact", is_flag=True, help="Ensembles: exact P(M), also where it takes minutes.")
@_options.output("The figure  [default: FILE.png].", suffixes=())
@_options.x64
@_options.common
def plot(
    path: Path,
    exact: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    seed: int | None,
) -> None:
    """Draw what a file holds.

    A scan, an ensemble (with the exact P(M), where that is known), observables or a reproduction.
    The format of the figure goes by its ending
    (png, pdf, svg). --x64 and --seed change nothing.

    \b
    Example:
      lattice-flows plot scan.nc -o scan.pdf
    """
    if output is None:
        output = path.with_suffix(".png")
        _options.refuse_existing(output, overwrite)

    from lattice_flows.figures.plots import plot_file, save_figure
    from lattice_flows.papers import record

    save_figure(plot_file(path, {record.FORMAT: record.plot}, patient=exact), output)
    _output.say(f"drew {output}")
    if as_json:
        _output.show(_output.json_text({"file": str(path), "figure": str(output)}))


if __name__ == "__main__":
    plot()
