"""lattice-flows sample: draw configurations from a trained flow."""

from pathlib import Path

import click

from lattice_flows.scripts import _options, _output, _values
from lattice_flows.scripts._command import Command


@click.command(cls=Command)
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@_options.couplings
@_options.draws
@_options.extrapolate
@_options.output("The ensemble: configurations with log-weights, netCDF.", required=True)
@_options.field_precision
@_options.common
def sample(
    path: Path,
    given: _values.Given,
    n: int,
    extrapolate: bool,
    output: Path,
    overwrite: bool,
    as_json: bool,
    seed: int | None,
    double: bool,
) -> None:
    """Draw an ensemble from a trained flow.

    Configurations of RUN with their log-weights, written to a netCDF file. What the ensemble says
    of itself is shown as `measure` shows it. The same seed gives the same configurations. Exit
    code 3 says that the weights are too uneven to rely on.

    \b
    Example:
      lattice-flows sample runs/cycle --m 0.5 -n 10000 -o ensemble.nc
    """
    from lattice_flows.run import Run

    run = Run.open(path)
    point = run.config.check_couplings(_values.point(run.config.theory, given), extrapolate)

    from lattice_flows.resources import refuse_draws
    from lattice_flows.sampler import Sampler

    sampler = Sampler.load(run, double)
    refuse_draws(n, sampler.theory.sites, output)
    _output.announce(run.config.theory, run.config.shape, point)
    ensemble = sampler.draw(
        sampler.theory.from_values(**point), _options.command_key("sample", seed), n
    )
    result = _output.measured(ensemble, ensemble.measure())
    _output.deliver([result], as_json, output, ensemble.save)
    _output.check_reliable(result)


if __name__ == "__main__":
    sample()
