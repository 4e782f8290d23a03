"""Figures of scans, ensembles and measurements.

matplotlib is imported inside the functions: it takes half a second, and most commands do without.
Figures are plain `matplotlib.figure.Figure` objects, without pyplot and its global state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.rows import slices
from lattice_flows.ensembles.solution import solution, solution_if_quick
from lattice_flows.figures.checks import check
from lattice_flows.figures.scan import plot_scan
from lattice_flows.figures.style import (
    COLOURS,
    GREY,
    STYLE,
    UNRELIABLE,
    estimated,
    label,
    on_lattice,
    title_of,
)
from lattice_flows.io.netcdf import Dataset, atomic_write, read_dataset
from observables import Estimate, kish_ess, magnetization
from theories import GaussianAnswers, LatticeFlowsError, StripSolution, TransferMatrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def plot_file(
    path: str | os.PathLike,
    others: Mapping[str, Callable[[Dataset], Figure]] | None = None,
    patient: bool = False,
) -> Figure:
    """The figure for a scan.nc, ensemble.nc or observables.nc.

    `others` are further kinds of files by their format, and what draws them. patient: whether exact
    answers beside an ensemble may take minutes.
    Raises LatticeFlowsError for a file that is none of these.
    """
    _matplotlib()
    others = others or {}
    ensemble = partial(plot_ensemble, patient=patient)
    own = {"scan": plot_scan, "ensemble": ensemble, "observables": plot_observables}
    dataset = read_dataset(path, *others, *own, lazy=("configuration",))
    kind = dataset.attributes["lf_format"]
    if kind in own:
        check(dataset)
    return {**others, **own}[kind](dataset)


def _matplotlib() -> None:
    """Import matplotlib; raises LatticeFlowsError where its settings cannot be read."""
    try:
        import matplotlib as matplotlib
    except (OSError, RuntimeError, ValueError) as error:
        raise LatticeFlowsError(
            f"matplotlib cannot start: {error}: mend or remove its settings (matplotlibrc, "
            "MATPLOTLIBRC, MPLCONFIGDIR)"
        ) from error


def figure_format(path: str | os.PathLike) -> str:
    """The format that the suffix of `path` names; raises LatticeFlowsError where there is none."""
    _matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    suffix = Path(path).suffix[1:].lower()
    if suffix not in FigureCanvasAgg.filetypes:
        raise LatticeFlowsError(f"{path}: no figure format; name it .png, .pdf or .svg")
    return suffix


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write the figure, atomically; the suffix of `path` (.png, .pdf, .svg) chooses the format.

    Raises LatticeFlowsError for a suffix matplotlib has no format for, or where it can't write.
    """
    import matplotlib

    suffix = figure_format(path)
    with matplotlib.rc_context(STYLE):
        atomic_write(path, lambda temporary: figure.savefig(temporary, format=suffix))


def plot_ensemble(dataset: Dataset, patient: bool = False) -> Figure:
    """The weighted histogram of the magnetization, and that of the log-weights where there are any.

    The black line is the exact density, where it is known in a minute or so, or you are `patient`.

    Off the lattice the histogram is of the first two components, in the plane. Bars are standard
    errors, from the scatter of the weights in each bin. The grey line (in the plane, dots) is the
    histogram of the draws without weights: what the weights have to mend.
    """
    import matplotlib
    from matplotlib.figure import Figure

    ensemble = Ensemble.read(dataset)
    log_w = ensemble.log_weights
    with matplotlib.rc_context(STYLE):
        columns = 1 if log_w is None else 2
        figure = Figure(figsize=(3.6 * columns, 2.9), layout="constrained")
        ax = figure.add_subplot(1, columns, 1)
        if on_lattice(dataset):
            parts = [magnetization(phi) for phi in slices(ensemble.configurations)]
            _draw_magnetization(ax, np.concatenate(parts), log_w, _exact_density(ensemble, patient))
        else:
            _draw_plane(ax, ensemble.configurations[:, :2], log_w)
        if log_w is not None:
            _draw_log_weights(figure.add_subplot(1, columns, 2), log_w)
        figure.suptitle(title_of(dataset), fontsize=STYLE["axes.titlesize"])
    return figure


def _exact_density(ensemble: Ensemble, patient: bool) -> Curve | None:
    """(M, P(M)) on a grid, None where it is not known."""
    solve = solution if patient else solution_if_quick
    exact = solve(ensemble.theory, ensemble.couplings)
    if isinstance(exact, TransferMatrix | StripSolution | GaussianAnswers):
        return exact.magnetization_distribution()
    return None


def _draw_magnetization(
    ax: Axes, m: NDArray[np.float64], log_w: NDArray[np.float64] | None, exact: Curve | None
) -> None:
    w = _shares(len(m), log_w)
    edges = np.linspace(m.min(), m.max(), int(np.clip(2 * len(m) ** (1 / 3), 10, 80)) + 1)
    width = edges[1] - edges[0]
    density = np.histogram(m, edges, weights=w)[0] / width
    error = np.sqrt(np.histogram(m, edges, weights=w**2)[0]) / width
    ax.stairs(density, edges, color=COLOURS[0], fill=True, alpha=0.25)
    ax.stairs(density, edges, color=COLOURS[0], linewidth=0.9, label="reweighted")
    centres = (edges[1:] + edges[:-1]) / 2
    ax.errorbar(centres, density, error, linestyle="none", color=COLOURS[0], elinewidth=0.8)
    ax.set(xlabel=r"$M$", ylabel=r"$P(M)$", ylim=(0, None))
    if log_w is not None:
        plain = np.histogram(m, edges, density=True)[0]
        ax.stairs(plain, edges, color=GREY, linewidth=0.9, label="draws")
    if exact is not None:
        at, density = exact
        seen = (at > edges[0] - 5 * width) & (at < edges[-1] + 5 * width)
        ax.plot(at[seen], density[seen], color="black", linewidth=0.9, label="exact")
    if log_w is not None or exact is not None:
        ax.legend()


def _draw_plane(ax: Axes, x: NDArray[np.float64], log_w: NDArray[np.float64] | None) -> None:
    """Where the weight is, over where the draws are (grey: those that count for nothing)."""
    ax.plot(*x.T, ".", color=GREY, markersize=1, alpha=0.5, rasterized=True)
    bins = int(np.clip(2 * len(x) ** (1 / 3), 10, 80))
    ax.hist2d(*x.T, bins=bins, weights=_shares(len(x), log_w), cmin=1e-3 / bins**2, cmap="viridis")
    ax.set(xlabel=r"$x_0$", ylabel=r"$x_1$")


def _shares(n: int, log_w: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """The share of each draw in all the weight."""
    w = np.ones(n) if log_w is None else np.exp(log_w - log_w.max())
    return w / w.sum()


def _draw_log_weights(ax: Axes, log_w: NDArray[np.float64]) -> None:
    """Log-weights about the log of their mean: a perfect sampler has them all at 0."""
    centred = log_w - log_w.max()
    centred = centred - np.log(np.mean(np.exp(centred)))
    ax.hist(centred, bins=60, color=COLOURS[0], alpha=0.25)
    ax.hist(centred, bins=60, color=COLOURS[0], histtype="step", linewidth=0.9)
    ax.axvline(0, color="black", linewidth=0.9)
    ax.set_yscale("log")
    ax.set(xlabel=r"$\log w - \log\,\overline{w}$", ylabel="draws")
    text = f"ESS$\\,/\\,n = {kish_ess(log_w):.3f}$"
    ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top")


def plot_observables(dataset: Dataset) -> Figure:
    """A table of the observables, with the relative standard error of each as a bar.

    Unreliable measurements are red and say so in the title.
    """
    import matplotlib
    from matplotlib.figure import Figure

    names = estimated(dataset)
    estimates = [Estimate(float(dataset[n]), float(dataset[f"{n}_stderr"])) for n in names]
    reliable = bool(dataset.get("reliable") is None or np.all(dataset["reliable"]))
    colour = COLOURS[0] if reliable else UNRELIABLE
    relative = [abs(e.stderr / e.value) if e.value else np.nan for e in estimates]
    rows = np.arange(len(names))[::-1]
    drawn = np.array([r if np.isfinite(r) and r > 0 else np.nan for r in relative])

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.8 + 0.33 * len(names)), layout="constrained")
        ax = figure.add_subplot()
        ax.set_yticks(rows, [label(name, dataset) for name in names])
        ax.set_ylim(-0.6, len(names) - 0.4)
        if np.isfinite(drawn).any():
            left = 10 ** np.floor(np.log10(np.nanmin(drawn)) - 0.3)
            ax.hlines(rows, left, drawn, color=colour, linewidth=1.2)
            ax.plot(drawn, rows, "o", color=colour, markersize=4.5)
            ax.set_xscale("log")
            ax.set_xlim(left, 10 ** np.ceil(np.log10(np.nanmax(drawn)) + 0.1))
        ax.set_xlabel("standard error / value")
        values = ax.secondary_yaxis("right")
        values.set_yticks(rows, [str(estimate).replace("-", "−") for estimate in estimates])
        for side in (ax, values):
            side.tick_params(axis="y", length=0, right=False)
        failed = dataset.get("failed_checks")
        names = "" if failed is None else " ".join(map(str, np.ravel(failed)))
        reasons = f": {names}".replace("_", " ") if names else ""
        flag = "" if reliable else f",  UNRELIABLE{reasons}"
        figure.suptitle(title_of(dataset) + flag, fontsize=STYLE["axes.titlesize"])
    return figure
