"""lattice-flows evaluate: how good a trained flow is."""

from pathlib import Path

import click

from lattice_flows.scripts import _options, _output, _values
from lattice_flows.scripts._command import Command

_STEP_HALVING = 0.05  # of log q for the worst of 256 configurations


@click.command(cls=Command)
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@_options.couplings
@_options.draws
@_options.extrapolate
@_options.output("Write the result: JSON if FILE ends in .json, else netCDF.")
@_options.field_precision
@_options.common
def evaluate(
    path: Path,
    given: _values.Given,
    n: int,
    extrapolate: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    seed: int | None,
    double: bool,
) -> None:
    """How good a trained flow is.

    ESS and KL of RUN, reverse and forward, log Z and mode weight, beside exact answers where they
    exist. Couplings not given are the trained ones; one trained over a range needs a value. Exit
    code 3 says that the estimates must not be relied on.

    \b
    Example:
      lattice-flows evaluate runs/cycle --m 0.5 --json
    """
    from lattice_flows.run import Run

    run = Run.open(path)
    point = run.config.check_couplings(_values.point(run.config.theory, given), extrapolate)

    import jax

    from lattice_flows.evaluation import evaluate as evaluate_sampler
    from lattice_flows.results import save_results
    from lattice_flows.sampler import Sampler

    sampler = Sampler.load(run, double)
    couplings = sampler.theory.from_values(**point)
    result = evaluate_sampler(sampler, couplings, jax.random.key(seed or 0), n)
    if result["log_q_step_halving"] > _STEP_HALVING:
        _output.say(
            f"note: log q changes by {result['log_q_step_halving']:.2g} when the solver's steps "
            "are halved, and log Z may be off by as much: train with more --ode-steps"
        )
    _output.deliver(
        [result],
        as_json,
        output,
        lambda file: save_results(file, "observables", sampler.theory, [result]),
    )
    _output.check_reliable(result)


if __name__ == "__main__":
    evaluate()
