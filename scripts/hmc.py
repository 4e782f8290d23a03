"""lattice-flows hmc: reference configurations by Hamiltonian Monte Carlo."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.scripts import _drawing, _options, _output, _values, _verdict
from lattice_flows.scripts._command import Command
from lattice_flows.scripts._progress import progress

if TYPE_CHECKING:
    from theories import Theory


@click.command(cls=Command)
@click.argument("theory")
@_options.lattice
@_options.couplings
@_options.draws
@click.option(
    "--chains",
    type=click.IntRange(1, 10**6),
    default=64,
    show_default=True,
    help="Independent chains.",
)
@click.option(
    "--warm-up",
    type=click.IntRange(0, 10**7),
    default=200,
    show_default=True,
    help="Trajectories before the first draw.",
)
@click.option(
    "--every",
    type=click.IntRange(1, 10**6),
    default=5,
    show_default=True,
    help="Trajectories from one draw to the next.",
)
@_options.output(
    "The ensemble: configurations, chain by chain, netCDF.", required=True, resumable=True
)
@_options.x64
@_options.common
def hmc(
    theory: str,
    shape: tuple[int, ...] | None,
    given: _values.Given,
    n: int,
    chains: int,
    warm_up: int,
    every: int,
    output: Path,
    overwrite: bool,
    resume: bool,
    as_json: bool,
    seed: int | None,
) -> None:
    """Reference configurations by Hamiltonian Monte Carlo.

    With Fourier acceleration and cluster flips, for any THEORY on a lattice of any dimension: no
    flow is needed. COUNT is the number of draws of all chains together, rounded up to a multiple of
    --chains. Observables are shown beside exact answers where these are known, with errors that
    allow for autocorrelations. Exit code 3 says that the draws are too few for their
    autocorrelation time, or that the chains disagree (R-hat). Draws are kept while they are made:
    what was interrupted (exit code 75) or killed goes on with --resume.

    \b
    Examples:
      lattice-flows hmc phi4 --sites 16 --m 0.5 -n 4096 -o ensemble.nc
      lattice-flows hmc phi4 --shape 8x8 --m 0.2 --alpha 0 -n 16384 -o ensemble.nc
    """
    with _drawing.stoppable(output) as interrupted:
        import theories

        if shape is None and theories.find(theory).own_shape is None:
            raise click.UsageError("give the lattice: --sites N or --shape LxL")
        model = theories.make(theory, shape)
        couplings = model.from_values(**_values.point(theory, given))
        model.validate(couplings)

        import jax

        from lattice_flows.ensembles.blocks import Blocks
        from lattice_flows.ensembles.result import Compared
        from lattice_flows.mcmc.hmc import Plan
        from lattice_flows.mcmc.hmc import hmc as run_hmc
        from lattice_flows.runs.resources import refuse_draws, refuse_memory

        refuse_draws(n, model.sites, output)
        refuse_memory(f"{chains} chains of {model.sites} sites", 64.0 * chains * model.sites)
        refuse_memory("so many trajectories", 8.0 * (n / chains * every + warm_up))
        _output.announce(theory, model.shape, couplings._asdict())
        plan = Plan(chains, -(-n // chains), warm_up, every)
        record = _drawing.record(
            "hmc",
            theory=theory,
            shape=model.shape,
            couplings=couplings._asdict(),
            **plan._asdict(),
            seed=seed or 0,
            x64=jax.config.jax_enable_x64,  # pyright: ignore[reportAttributeAccessIssue]
        )
        kept = _drawing.parts(output, record, resume=resume, overwrite=overwrite)
        with kept as parts:
            if parts is None:
                return
            with progress(f"hmc {output}", plan.trajectories) as report:
                ensemble = run_hmc(
                    model,
                    couplings,
                    _options.command_key("hmc", seed),
                    **plan._asdict(),
                    blocks=Blocks(parts, interrupted),
                    report=report,
                )
            ensemble = _drawing.recorded(ensemble, record)
            measurement = ensemble.measure()
            made = {k: ensemble.provenance[k] for k in ("chains", "acceptance", "step_size")}
            answers = _exact(model, couplings, measurement.observables)
            result = Compared(model, couplings, measurement, made, exact=answers)

            def save(file: Path) -> None:
                ensemble.save(file)
                parts.remove()

            _output.deliver([result], as_json, output, save)
    _verdict.check_reliable(result)


def _exact(theory: "Theory", couplings: Any, names: Iterable[str]) -> dict[str, float] | None:
    """Exact observables where they are known, unless that would be too hard."""
    from lattice_flows.ensembles.result import known
    from observables import exact_answers
    from theories import LatticeFlowsError

    try:
        answers = exact_answers(theory, couplings)
    except LatticeFlowsError:
        return None
    return None if answers is None else known(answers, names)


if __name__ == "__main__":
    hmc()
