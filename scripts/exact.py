"""lattice-flows exact: answers without sampling."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.io.interrupt import Interrupted
from lattice_flows.scripts import _drawing, _options, _output, _values
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
@click.option(
    "--accuracy",
    type=click.FloatRange(1e-12, 0.1),
    default=None,
    help="Tori: what log Z, and relative averages, may be off by.  [default: 1e-7, or as good as "
    "half an hour a point allows]",
)
@_options.output("Write the answers: JSON if FILE ends in .json, else netCDF.", resumable=True)
@_options.observables
@_options.x64
@_options.common
def exact(
    theory: str,
    shape: tuple[int, ...] | None,
    given: _values.Given,
    accuracy: float | None,
    output: Path | None,
    resume: bool,
    overwrite: bool,
    own: _options.Own,
    as_json: bool,
    seed: int | None,
) -> None:
    """Exact answers, at one coupling point or over ranges.

    For THEORY phi4 or double-well on a chain, and on tori whose shorter side has eight sites at
    most, from the transfer matrix; log Z alone on larger tori of even sides, by tensor
    renormalisation; for many-well (--sites is the number of its components),
    gmm-2, gmm-4, gmm-6 and gmm-40 (which need none) in closed form or by quadrature. Answers on
    tori tell what they may be off by. Couplings not given take the theory's defaults. The answers
    are in double precision and hold no randomness: --x64 and --seed change nothing. What an
    interrupted command has found is kept beside -o FILE: --resume goes on with it.

    \b
    Examples:
      lattice-flows exact phi4 --sites 16 --m 0.5 --json
      lattice-flows exact phi4 --sites 16 --m 0.25:1:16 -o exact.nc
      lattice-flows exact phi4-hopping --shape 4x4 --kappa 0.25:0.29:5
      lattice-flows exact phi4-hopping --shape 8x8 --kappa 0.25,0.27 --accuracy 1e-4 -o exact.nc
    """
    import theories

    if shape is None and theories.find(theory).own_shape is None:
        raise click.UsageError("give the lattice: --sites N or --shape LxL")
    points = _values.grid(theory, given)

    from lattice_flows.ensembles.result import Answers, exact_result
    from lattice_flows.ensembles.results_file import save_results

    model = theories.make(theory, shape)
    couplings = [model.from_values(**point) for point in points]
    for point in couplings:
        model.validate(point)
    if len(couplings) > 1:  # one is named by its own result
        _output.announce(theory, model.shape, [point._asdict() for point in couplings])
    record = _drawing.record(
        "exact",
        theory=theory,
        shape=model.shape,
        couplings=[point._asdict() for point in couplings],
        accuracy=accuracy,
        observables=[one.name for one in own],
    )
    seconds = _seconds(model, couplings, accuracy)
    dear = seconds > _LONG
    kept = output if dear or resume else None  # what is soon found again is not kept in parts
    with (
        _drawing.stoppable(kept) as interrupted,
        _drawing.parts(kept, record, resume=resume, overwrite=overwrite) as parts,
    ):
        if parts is None:
            return
        results = []
        stage = _output.say if dear else None
        with _progress(model, len(couplings), seconds) as report:
            for number, point in enumerate(couplings):
                answers = parts.load(f"answers-{number}")
                if answers is None:
                    if interrupted():
                        raise Interrupted
                    found = exact_result(model, point, own, accuracy, stage)
                    parts.save(f"answers-{number}", found.answers)
                else:
                    found = Answers(model, point, {k: v[()] for k, v in answers.items()})
                results.append(found)
                report(len(results), {})

        def save(path: Path) -> None:
            provenance = {_drawing.DRAWING: record}
            save_results(path, "exact-table", results, provenance=provenance, own=own)
            parts.remove()

        _output.deliver(results, as_json, output, save, {_drawing.DRAWING: record})


def _seconds(model: "Theory", couplings: Sequence[Any], accuracy: float | None) -> float:
    """What all answers take on one core, about, 0 in closed form; says so where that is long."""
    from theories import LatticeTheory, TensorRenormalization, seconds_of

    if not (isinstance(model, LatticeTheory) and len(model.shape) == 2):
        return 0.0
    from lattice_flows.ensembles.solution import solution

    # they may need far more nodes at one end of a range than at the other
    few = sorted({0, len(couplings) // 2, len(couplings) - 1})
    found = [solution(model, couplings[i], accuracy) for i in few]
    if any(isinstance(one, TensorRenormalization) for one in found):
        sides = "x".join(map(str, model.shape))
        _output.say(f"note: {sides} is too large for all answers: log Z alone, with an estimate")
    seconds = sum(map(seconds_of, found)) / len(few) * len(couplings)
    if seconds > _LONG:
        _output.say(f"note: this takes about {_duration(seconds)} on one core")
    return seconds


@contextlib.contextmanager
def _progress(model: "Theory", points: int, seconds: float) -> Iterator[Report]:
    """Reports of the points that are done, where they take any time."""
    if not seconds:
        yield lambda *_: None
        return
    with progress(f"exact {model.name}", points) as report:
        yield report


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


if __name__ == "__main__":
    exact()
