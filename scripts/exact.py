"""lattice-flows exact: answers without sampling."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.scripts import _options, _output, _values
from lattice_flows.scripts._command import Command
from lattice_flows.scripts._progress import progress

if TYPE_CHECKING:
    from theories import Theory

Report = Callable[[int, Mapping[str, float]], None]
_LONG = 20.0  # seconds


@click.command(cls=Command)
@click.argument("theory")
@_options.lattice
@_options.couplings
@_options.output("Write the answers: JSON if FILE ends in .json, else netCDF.")
@_options.observables
@_options.x64
@_options.common
def exact(
    theory: str,
    shape: tuple[int, ...] | None,
    given: _values.Given,
    output: Path | None,
    overwrite: bool,
    own: _options.Own,
    as_json: bool,
    seed: int | None,
) -> None:
    """Exact answers, at one coupling point or over ranges.

    For THEORY phi4 or double-well on a chain, and on tori whose shorter side is no longer than six
    sites or so, from the transfer matrix; for many-well (--sites is the number of its components),
    gmm-2, gmm-4, gmm-6 and gmm-40 (which need none) in closed form or by quadrature. Answers on
    tori tell what they may be off by. Couplings not given take the theory's defaults. The answers
    are in double precision and hold no randomness: --x64 and --seed change nothing.

    \b
    Examples:
      lattice-flows exact phi4 --sites 16 --m 0.5 --json
      lattice-flows exact phi4 --sites 16 --m 0.25:1:16 -o exact.nc
      lattice-flows exact phi4-hopping --shape 4x4 --kappa 0.25:0.29:5
    """
    import theories

    if shape is None and theories.find(theory).own_shape is None:
        raise click.UsageError("give the lattice: --sites N or --shape LxL")
    points = _values.grid(theory, given)

    from lattice_flows.ensembles.result import exact_result
    from lattice_flows.ensembles.results_file import save_results

    model = theories.make(theory, shape)
    couplings = [model.from_values(**point) for point in points]
    for point in couplings:
        model.validate(point)
    if len(couplings) > 1:  # one is named by its own result
        _output.announce(theory, model.shape, [point._asdict() for point in couplings])
    results = []
    with _working(model, couplings) as report:
        for point in couplings:
            results.append(exact_result(model, point, own))
            report(len(results), {})
    _output.deliver(
        results,
        as_json,
        output,
        lambda path: save_results(path, "exact-table", results, own=own),
    )


def _working(
    model: "Theory", couplings: Sequence[Any]
) -> "contextlib.AbstractContextManager[Report]":
    """Tori take seconds to minutes: how many is said before, and how far the work has come."""
    from theories import LatticeTheory, StripSolution, seconds_of

    nothing = contextlib.nullcontext(lambda done, metrics: None)
    if not isinstance(model, LatticeTheory) or len(model.shape) != 2:
        return nothing
    found = model.exact(couplings[0]) or StripSolution(model, couplings[0])
    seconds = seconds_of(found) * len(couplings)
    if not seconds:  # in closed form
        return nothing
    if seconds > _LONG:
        _output.say(f"note: this takes about {seconds:.0f} seconds on one core")
    return progress(f"exact {model.name}", len(couplings))


if __name__ == "__main__":
    exact()
