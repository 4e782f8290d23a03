"""lattice-flows measure: observables of an ensemble."""

from pathlib import Path

import click

from lattice_flows.scripts import _options, _output, _verdict
from lattice_flows.scripts._command import Command


@click.command(cls=Command)
@click.argument("path", metavar="ENSEMBLE.nc", type=click.Path(path_type=Path))
@_options.output("Write the observables: JSON if FILE ends in .json, else netCDF.")
@_options.observables
@_options.x64
@_options.common
def measure(
    path: Path,
    output: Path | None,
    own: _options.Own,
    overwrite: bool,
    as_json: bool,
    seed: int | None,
) -> None:
    """Observables of an ensemble, with errors.

    Reweighted where ENSEMBLE.nc has weights. Errors are in double precision, by the jackknife,
    or for Markov chains by the Gamma-method, which allows for autocorrelations; neither draws
    random numbers: --x64 and --seed change nothing. Exit code 3 says that the estimates must not
    be relied on.

    \b
    Example:
      lattice-flows measure ensemble.nc -o observables.nc
    """
    from lattice_flows.ensembles.ensemble import Ensemble
    from lattice_flows.ensembles.invariance import checked
    from lattice_flows.ensembles.result import Measured
    from lattice_flows.ensembles.results_file import save_measurement

    ensemble = Ensemble.load(path)
    measurement = checked(ensemble, ensemble.measure(own))
    result = Measured(ensemble.theory, ensemble.couplings, measurement)
    _output.deliver(
        [result], as_json, output, lambda file: save_measurement(file, ensemble, measurement, own)
    )
    _verdict.check_reliable(result)


if __name__ == "__main__":
    measure()
