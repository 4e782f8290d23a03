"""The correlator of an ensemble in a netCDF file."""

import os

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lattice_flows.ensembles.ensemble import Ensemble, config_of, coupling_variables, describe
from lattice_flows.io.netcdf import Variable, write_dataset
from observables import Correlator, GapFit, Measurement

_AT = ("distance",)


def save_correlator(
    path: str | os.PathLike,
    ensemble: Ensemble,
    measurement: Measurement,
    found: Correlator,
    exact: tuple[Correlator, float] | None,
) -> None:
    """Write correlator, its covariance and the gap, with exact ones where given.

    What was there is replaced. The measurement of the ensemble says whether its draws can carry
    them. What is not known is NaN, and so is the gap at distance 0.
    """
    known = _known(found.covariance)
    variables = coupling_variables(ensemble.couplings) | {
        "distance": Variable(_AT, np.arange(len(found.value)), "distance between slices, in sites"),
        "correlator": Variable(_AT, found.value, "connected correlator of slices"),
        "correlator_stderr": Variable(
            _AT, _known(found.stderr), "standard error of the correlator"
        ),
        "correlator_covariance": Variable(
            ("distance", "distance_2"), known, "covariance of the correlator at two distances"
        ),
        "gap": Variable(_AT, _padded(found.gap), "gap that the correlator decays with, to look at"),
        "gap_stderr": Variable(_AT, _padded(found.gap_stderr), "standard error of the gap"),
        "ess": Variable((), np.asarray(measurement.ess), "effective sample size (Kish) / draws"),
        "reliable": Variable((), np.asarray(measurement.reliable), "error bars can be believed"),
    }
    for percent in ("68", "95"):
        variables[f"correlator_interval_{percent}"] = Variable(
            ("distance", "bound"),
            getattr(found, f"interval_{percent}"),
            f"ends of the {percent} % confidence interval of correlator",
        )
    if found.fit is not None:
        variables |= _fitted(found.fit)
    if exact is not None:
        answer, energy_gap = exact
        variables |= {
            "correlator_exact": Variable(_AT, answer.value, "exact correlator"),
            "gap_exact": Variable(
                _AT, _padded(answer.gap), "gap that the exact correlator decays with"
            ),
            "energy_gap": Variable((), np.asarray(energy_gap), "gap of the infinite lattice"),
        }
    write_dataset(
        path,
        "correlator",
        variables,
        title=f"correlator of {describe(ensemble.theory)}",
        config=config_of(ensemble.theory, ensemble.couplings) | {"draws": len(ensemble)},
        references=ensemble.theory.references,
        attributes={"lf_provenance": dict(ensemble.provenance)},
    )


def _fitted(fit: GapFit) -> dict[str, Variable]:
    """The fit of the gap: scalars, but for the ends of window and intervals."""
    scalars = {
        "gap_fit": (fit.gap.value, "gap by a fit of a cosh to the correlator"),
        "gap_fit_stderr": (fit.gap.stderr, "standard error of gap_fit"),
        "gap_fit_chi2_per_dof": (fit.chi2 / fit.dof, "chi^2 per degree of freedom of the fit"),
        "gap_fit_dof": (fit.dof, "degrees of freedom of the fit"),
        "gap_fit_p_value": (fit.p_value, "p-value of the fit"),
        "gap_fit_decay_lengths": (fit.decay_lengths, "length of the lattice in decay lengths"),
    }
    window = (fit.window, "first and last distance of the fit")
    pairs: dict[str, tuple[ArrayLike, str]] = {"gap_fit_window": window}
    for kind, ends in fit.gap.intervals.items():
        pairs[f"gap_fit_{kind}"] = (
            ends,
            f"ends of the {kind[-2:]} % confidence interval of gap_fit",
        )
    return {
        "gap_fit_reliable": Variable(
            (), np.asarray(fit.reliable), "gap_fit can be relied on, no bias is to be expected"
        ),
        **{name: Variable((), _known(x), title) for name, (x, title) in scalars.items()},
        **{name: Variable(("bound",), np.asarray(x), title) for name, (x, title) in pairs.items()},
    }


def _known(values: ArrayLike) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, np.nan)


def _padded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(np.nan, _known(values))
