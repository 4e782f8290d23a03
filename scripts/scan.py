"""lattice-flows scan: observables against the couplings."""

from pathlib import Path

import click

from lattice_flows.scripts import _drawing, _options, _output, _values, _verdict
from lattice_flows.scripts._command import Command
from lattice_flows.scripts._progress import progress

POINTS = 16


@click.command(cls=Command)
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@_options.couplings
@_options.draws
@click.option(
    "--derivatives", is_flag=True, help="Derivatives with respect to the couplings scanned, too."
)
@click.option("--combine", is_flag=True, help="Measure the draws of all points at each of them.")
@click.option(
    "--adaptive",
    "total",
    type=click.IntRange(3, _values.MOST_POINTS),
    metavar="N",
    help="Add points where they tell most, N in all.",
)
@_options.extrapolate
@_options.output("Write the scan: JSON if FILE ends in .json, else netCDF.", resumable=True)
@click.option(
    "--plot", "figure", type=click.Path(path_type=Path), metavar="FILE", help="Draw the scan."
)
@_options.observables
@_options.field_precision
@_options.common
def scan(
    path: Path,
    given: _values.Given,
    n: int,
    derivatives: bool,
    combine: bool,
    total: int | None,
    extrapolate: bool,
    output: Path | None,
    overwrite: bool,
    resume: bool,
    figure: Path | None,
    own: _options.Own,
    as_json: bool,
    seed: int | None,
    double: bool,
) -> None:
    """Observables against the couplings.

    RUN is sampled at each value of a range LO:HI:COUNT or a comma list, beside exact answers.
    Several ranges make a grid of all combinations. Couplings not given are the trained ones;
    without any range the one the run was trained on is scanned. Exit code 3 says that a point must
    not be relied on. With -o, what is finished is kept: a scan that was interrupted (exit code 75)
    or killed goes on with --resume.

    --adaptive begins with the range as given and adds the middle of one interval after the other,
    where χ_|M| bends most for its errors or weights are uneven. With --combine the draws of all
    points are weighted to each of them: ESS and n are those of all draws together then.
    --derivatives adds d_NAME_d_COUPLING for every observable.

    \b
    Example:
      lattice-flows scan runs/cycle --m 0.25:1:16 -o scan.nc --plot scan.png
      lattice-flows scan runs/cycle --m 0.25:1:6 --adaptive 16 --combine -o scan.nc
    """
    if figure is not None:
        if output is None or output.suffix == ".json":
            raise click.UsageError("--plot draws what -o FILE.nc holds: give both")
        _options.refuse_figure(figure, output, overwrite or resume)

    with _drawing.stoppable(output) as interrupted:
        from lattice_flows.runs.run import Run

        run = Run.open(path)
        config = run.config
        if not given and len(config.ranges) == 1:
            ((name, (low, high)),) = config.ranges.items()
            count = POINTS if total is None else -(-total // 2)
            given = {name: _values.ValuesType().convert(f"{low!r}:{high!r}:{count}", None, None)}
        if total is not None:
            _check_adaptive(given, total)
        points = [
            config.check_couplings(p, extrapolate) for p in _values.grid(config.theory, given)
        ]

        from lattice_flows.runs.resources import refuse_draws
        from lattice_flows.sampling.sampler import Sampler
        from lattice_flows.sampling.scan import scan as scan_sampler

        _output.announce(config.theory, config.shape, points)
        sampler = Sampler.load(run, double)
        refuse_draws(n, sampler.theory.sites, None if combine else output)
        _output.note_unfinished(sampler)
        couplings = [sampler.theory.from_values(**point) for point in points]
        record = _drawing.record(
            "scan",
            run=_drawing.digest(run),
            couplings=[point._asdict() for point in couplings],
            n=n,
            seed=seed or 0,
            x64=double,
            adaptive=total,
            combine=combine,
            derivatives=derivatives,
            **({"observables": [one.name for one in own]} if own else {}),
        )
        kept = _drawing.parts(output, record, resume=resume, overwrite=overwrite)
        with kept as parts:
            if parts is None:
                if output is not None and figure is not None and not figure.exists():
                    _draw(output, figure)
                return
            with progress(f"scan {path}", total or len(points)) as report:
                result = scan_sampler(
                    sampler,
                    couplings,
                    _options.command_key("scan", seed),
                    n,
                    report,
                    points=total,
                    combine=combine,
                    derivatives=derivatives,
                    own=own,
                    parts=parts,
                    interrupted=interrupted,
                )
            result = _drawing.recorded(result, record)

            def save(file: Path) -> None:
                result.save(file)
                parts.remove()
                if figure is not None:
                    _draw(file, figure)

            made_by = {_drawing.DRAWING: record}
            _output.deliver(result.results, as_json, output, save, made_by)
            parts.remove()
    _verdict.check_reliable(*result.results)


def _draw(output: Path, figure: Path) -> None:
    """Draw what a file of a scan holds."""
    from lattice_flows.figures.plots import plot_file, save_figure

    save_figure(plot_file(output), figure)


def _check_adaptive(given: _values.Given, total: int) -> None:
    """Refuse what an adaptive scan cannot begin with."""
    counts = [count for typed in given.values() if (count := len(set(typed.values))) > 1]
    if len(counts) != 1:
        raise click.UsageError(
            "--adaptive refines one range: give LO:HI:COUNT for one coupling, "
            "single values for the others"
        )
    if counts[0] > total:
        raise click.UsageError(
            f"--adaptive {total} is less than the {counts[0]} points of the range to begin with"
        )


if __name__ == "__main__":
    scan()
