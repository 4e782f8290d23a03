"""lattice-flows correlator: how correlations of an ensemble decay, and the gap they decay with."""

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.scripts import _options, _output, _verdict
from lattice_flows.scripts._command import Command

if TYPE_CHECKING:
    from lattice_flows.ensembles.ensemble import Ensemble
    from lattice_flows.ensembles.result import Result
    from observables import Correlator, GapFit, Measurement


@click.command(cls=Command)
@click.argument("path", metavar="ENSEMBLE.nc", type=click.Path(path_type=Path))
@_options.output("Write the correlator: JSON if FILE ends in .json, else netCDF.")
@_options.x64
@_options.common
def correlator(
    path: Path, output: Path | None, overwrite: bool, as_json: bool, seed: int | None
) -> None:
    """Correlator and gap of an ensemble.

    C(r), the connected correlator of slices r apart, with errors and their covariance, reweighted
    where ENSEMBLE.nc has weights; beside exact ones where they are known. The gap in lattice units
    is that of a correlated fit of a cosh, which begins one decay length out; the gap at each r is
    there to look at. E₁ - E₀ of a double well is the gap times sites/period. Nothing is drawn at
    random: --x64 and --seed change nothing. Exit code 3 says that the estimates must not be relied
    on.

    \b
    Example:
      lattice-flows correlator ensemble.nc -o correlator.nc
    """
    from lattice_flows.ensembles.correlator_file import save_correlator
    from lattice_flows.ensembles.ensemble import Ensemble
    from lattice_flows.ensembles.invariance import checked
    from lattice_flows.ensembles.result import Measured

    ensemble = Ensemble.load(path)
    found, exact = ensemble.correlator(), ensemble.exact_correlator()
    measurement = checked(ensemble, ensemble.measure())
    measured = Measured(ensemble.theory, ensemble.couplings, measurement)
    result = _as_json(ensemble, measurement, found, exact)
    text = _output.json_text(result)  # first: what cannot be reported is not written either
    _output.write_and_show(
        text if as_json else _readable(measured, found, exact),
        output,
        result,
        lambda file: save_correlator(file, ensemble, measurement, found, exact),
    )
    _note_bias(found.fit)
    _verdict.check_reliable(measured)


def _note_bias(fit: "GapFit | None") -> None:
    """Say so where the gap has a bias that its error does not know."""
    if fit is None or fit.reliable or not (fit.gap.stderr < float("inf") and fit.decay_lengths > 0):
        return  # a gap that noise has made negative has no length
    if fit.is_long_enough:
        why = f"no window of C(r) decays like one cosh (p {fit.p_value:.2g}): this"
    else:
        states = (
            "excited states" if fit.even else "a constant in C(r), as phi -> -phi is no symmetry,"
        )
        why = f"the lattice is {fit.decay_lengths:.2g} decay lengths long: {states}"
    _output.say(
        f"note: {why} may bias the gap by more than its error; compare with a longer lattice"
    )


def _as_json(
    ensemble: "Ensemble", measurement: "Measurement", found: "Correlator", exact: Any
) -> dict[str, Any]:
    """The JSON object; what is not known is null, and so is the gap at r = 0."""
    from lattice_flows.ensembles.ensemble import config_of

    def pairs(values: Any, errors: Any, missing: int) -> dict[str, list[float | None]]:
        known = [None] * missing
        return {
            "value": known + [float(x) if x == x else None for x in values],
            "stderr": known + [float(x) if x < float("inf") else None for x in errors],
        }

    def nullable(matrix: Any) -> list[list[float | None]]:
        return [[float(x) if abs(x) < float("inf") else None for x in row] for row in matrix]

    result: dict[str, Any] = config_of(ensemble.theory, ensemble.couplings) | {
        "correlator": pairs(found.value, found.stderr, 0)
        | {name: nullable(getattr(found, name)) for name in ("interval_68", "interval_95")},
        "correlator_covariance": nullable(found.covariance),
        "gap": pairs(found.gap, found.gap_stderr, 1),
        "gap_fit": None if found.fit is None else found.fit.as_json(),
        "ess": measurement.ess,
        "reliable": measurement.reliable,
        "failed": list(measurement.failed),
        "n": len(ensemble),
        "exact": None,
    }
    if exact is not None:
        at_distances, asymptotic = exact
        result["exact"] = {
            "correlator": at_distances.value.tolist(),
            "gap": [None, *(x if x == x else None for x in at_distances.gap.tolist())],
            "energy_gap": asymptotic if asymptotic == asymptotic else None,
        }
    return result


def _readable(
    result: "Result", found: "Correlator", exact: "tuple[Correlator, float] | None"
) -> str:
    """The table of distances."""
    from observables import Estimate

    def column(values: Any, errors: Any) -> list[str]:
        pairs = zip(values, errors, strict=True)
        return [_output.quantity(Estimate(float(x), float(error))) for x, error in pairs]

    def exactly(values: Any) -> list[str]:
        return ["-" if isnan(x) else f"{x:.6g}" for x in values]

    columns = [column(found.value, found.stderr), ["-", *column(found.gap, found.gap_stderr)]]
    header = ["distance", "correlator", "gap at r"]
    if exact:
        answer, _ = exact
        header = ["distance", "correlator", "exact", "gap at r", "exact"]
        shown = exactly(answer.value), ["-", *exactly(answer.gap)]
        columns = [columns[0], shown[0], columns[1], shown[1]]
    rows = [[str(r), *row] for r, row in enumerate(zip(*columns, strict=True))]
    lines = [_output.headline(result), _output.table([header, *rows]), _fit_line(found.fit)]
    if exact and not isnan(exact[1]):
        lines.append(f"gap of the infinite lattice: {exact[1]:.6g}")
    return "\n".join(lines)


def _fit_line(fit: "GapFit | None") -> str:
    """The gap of the fit in a line."""
    if fit is None or isnan(fit.gap.value):
        return "gap by a fit: none, the noise is too large; draw more"
    first, last = fit.window
    return (
        f"gap by a fit at r = {first} … {last}: {_output.quantity(fit.gap)}, "
        f"chi²/dof {fit.chi2 / fit.dof:.2f} of {fit.dof}, p {fit.p_value:.2f}"
    )


if __name__ == "__main__":
    correlator()
