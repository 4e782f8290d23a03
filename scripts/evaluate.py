"""lattice-flows evaluate: how good a trained flow is."""

from pathlib import Path

import click

from lattice_flows.scripts import _options, _output, _values, _verdict
from lattice_flows.scripts._command import Command
from lattice_flows.scripts._progress import progress

_STEP_HALVING = 0.05  # of log q for the worst of 256 configurations


@click.command(cls=Command)
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@_options.couplings
@_options.draws
@click.option(
    "--reference",
    type=click.Choice(["auto", "exact", "hmc", "none"]),
    default="auto",
    show_default=True,
    help="Judge by exact answers, else draws of HMC; by exact answers that may take minutes; by "
    "HMC; by exact answers or nothing.",
)
@_options.extrapolate
@_options.output("Write the result: JSON if FILE ends in .json, else netCDF.")
@_options.observables
@_options.field_precision
@_options.common
def evaluate(
    path: Path,
    given: _values.Given,
    n: int,
    reference: str,
    extrapolate: bool,
    output: Path | None,
    overwrite: bool,
    own: _options.Own,
    as_json: bool,
    seed: int | None,
    double: bool,
) -> None:
    """How good a trained flow is.

    ESS and KL of RUN, reverse and forward, log Z and mode weight, beside exact answers where they
    exist. Where there are none, draws of HMC give the forward figures and are compared with
    (--reference). Couplings not given are the trained ones; one trained over a range needs a
    value, a range LO:HI:COUNT or a comma list; several make a grid of all combinations, and a file
    of such is a scan. Exit code 3 says that the estimates must not be relied on.

    \b
    Example:
      lattice-flows evaluate runs/cycle --m 0.5 --json
      lattice-flows evaluate runs/cycle --m 0.25:1:16 -o evaluated.nc
    """
    from lattice_flows.runs.run import Run

    run = Run.open(path)
    config = run.config
    points = [config.check_couplings(p, extrapolate) for p in _values.grid(config.theory, given)]

    from lattice_flows.ensembles.results_file import save_results
    from lattice_flows.runs.resources import refuse_draws
    from lattice_flows.sampling.evaluation import evaluate as evaluate_sampler
    from lattice_flows.sampling.evaluation import evaluate_grid
    from lattice_flows.sampling.sampler import Sampler
    from lattice_flows.sampling.scan import Scan, exact_curve

    _output.announce(config.theory, config.shape, points)
    sampler = Sampler.load(run, double)
    _output.note_unfinished(sampler)
    refuse_draws(n, sampler.theory.sites, None)
    theory, key = sampler.theory, _options.command_key("evaluate", seed)
    grid = [theory.from_values(**point) for point in points]
    results = []
    if len(grid) == 1:
        results.append(evaluate_sampler(sampler, grid[0], key, n, reference, own))
    else:
        with progress(f"evaluate {path}", len(grid)) as report:
            for result in evaluate_grid(sampler, grid, key, n, reference, own):
                results.append(result)
                report(len(results), {"ess": result.measurement.ess})
    if reference != "none" and any(result.forward is None for result in results):
        _output.say(
            "note: nothing is known of p here (the chains of HMC do not agree, or there is no HMC "
            "off the lattice): the verdict rests on the flow's own draws"
        )
    halving = max(result.log_q_step_halving for result in results)
    if halving > _STEP_HALVING:
        _output.say(
            f"note: log q changes by {halving:.2g} when the solver's steps "
            "are halved, and log Z may be off by as much: train with more --ode-steps"
        )

    def save(file: Path) -> None:
        if len(grid) == 1:
            save_results(file, "observables", results, provenance=sampler.provenance, own=own)
        else:
            curve = exact_curve(theory, grid, own)
            Scan(results, curve, sampler.provenance, own).save(file)

    _output.deliver(results, as_json, output, save)
    _verdict.check_reliable(*results)


if __name__ == "__main__":
    evaluate()
