"""lattice-flows sample: draw configurations from a trained flow."""

from pathlib import Path

import click

from lattice_flows.scripts import _drawing, _options, _output, _values, _verdict
from lattice_flows.scripts._command import Command
from lattice_flows.scripts._progress import progress


@click.command(cls=Command)
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@_options.couplings
@_options.draws
@_options.extrapolate
@_options.output(
    "The ensemble: configurations with log-weights, netCDF.", required=True, resumable=True
)
@_options.field_precision
@_options.common
def sample(
    path: Path,
    given: _values.Given,
    n: int,
    extrapolate: bool,
    output: Path,
    overwrite: bool,
    resume: bool,
    as_json: bool,
    seed: int | None,
    double: bool,
) -> None:
    """Draw an ensemble from a trained flow.

    Configurations of RUN with their log-weights, written to a netCDF file. What the ensemble says
    of itself is shown as `measure` shows it. The same seed gives the same configurations. Exit
    code 3 says that the weights are too uneven to rely on. Draws are kept while they are made: what
    was interrupted (exit code 75) or killed goes on with --resume.

    \b
    Example:
      lattice-flows sample runs/cycle --m 0.5 -n 10000 -o ensemble.nc
    """
    with _drawing.stoppable(output) as interrupted:
        from lattice_flows.runs.run import Run

        run = Run.open(path)
        point = run.config.check_couplings(_values.point(run.config.theory, given), extrapolate)

        from lattice_flows.ensembles.blocks import Blocks
        from lattice_flows.ensembles.invariance import checked, recorded
        from lattice_flows.ensembles.result import Measured
        from lattice_flows.runs.resources import refuse_draws
        from lattice_flows.sampling.sampler import Sampler

        _output.announce(run.config.theory, run.config.shape, point)
        sampler = Sampler.load(run, double)
        refuse_draws(n, sampler.theory.sites, output)
        _output.note_unfinished(sampler)
        couplings = sampler.theory.from_values(**point)
        record = _drawing.record(
            "sample",
            run=_drawing.digest(run),
            couplings=couplings._asdict(),
            n=n,
            seed=seed or 0,
            x64=double,
        )
        kept = _drawing.parts(output, record, resume=resume, overwrite=overwrite)
        with kept as parts:
            if parts is None:
                return
            with progress(f"sample {path}", n) as report:
                blocks = Blocks(parts, interrupted)
                key = _options.command_key("sample", seed)
                ensemble = sampler.draw(couplings, key, n, blocks, report)
            measurement = checked(ensemble, ensemble.measure())
            ensemble = _drawing.recorded(recorded(ensemble, measurement), record)
            result = Measured(ensemble.theory, ensemble.couplings, measurement)

            def save(file: Path) -> None:
                ensemble.save(file)
                parts.remove()

            _output.deliver([result], as_json, output, save)
    _verdict.check_reliable(result)


if __name__ == "__main__":
    sample()
