"""The figure of a coupling scan: observables with error bars, exact curves, and diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lattice_flows.figures.style import (
    COLOURS,
    GREY,
    STYLE,
    UNRELIABLE,
    coupling_names,
    known,
    label,
    own,
    symbol,
    title_of,
)
from lattice_flows.io.netcdf import Dataset
from theories.errors import LatticeFlowsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_ROUNDING = 1e-10
"""What is smaller than this, and has no larger error, is zero."""


@dataclass(frozen=True)
class _Series:
    """The points of a scan that lie on one curve: indices along the abscissa, a colour, a name."""

    points: NDArray[np.intp]
    curve: NDArray[np.intp] | None
    colour: str
    label: str


def plot_scan(dataset: Dataset) -> Figure:
    """⟨M⟩, ⟨|M|⟩, χ and the Binder cumulant along a scan, with error bars and exact curves.

    Off the lattice the first observables of the theory, moments and mode weights. Observables of
    your own have a panel each below. Last come the effective sample size (of all draws, where those
    of all points are combined), and how far log Z is from exact in standard errors (log Z itself
    where no exact answer is known). The abscissa is the coupling with the most values; each
    combination of the others has its own colour. Points that failed the ESS gate are drawn hollow
    and red, and do not set the range of the axes.

    `dataset` has the dimension `coupling_point`: couplings, NAME, NAME_stderr, `ess`, and where
    known NAME_exact and `reliable`. A dense exact curve may be given along the dimension
    `exact_point`, NAME_curve over COUPLING_curve; else the exact values at the points are joined.

    Raises LatticeFlowsError if a variable is missing or there are more than eight curves.
    """
    import matplotlib
    from matplotlib.figure import Figure

    abscissa, series = _series(dataset)
    more = own(dataset)
    rows = 3 + -(-len(more) // 2)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 6.6 + 2.6 * (rows - 3)), layout="constrained")
        grid = figure.add_gridspec(rows, 2, height_ratios=(*(1,) * (rows - 1), 0.42))
        axes = [figure.add_subplot(grid[row, column]) for row in range(rows) for column in range(2)]
        for ax in axes:
            ax.sharex(axes[0])
            ax.tick_params(labelbottom=ax in axes[-2:])

        if "magnetization" in dataset:
            _draw_lattice(axes[:4], dataset, abscissa, series)
        else:
            _draw_each(axes[:4], dataset, abscissa, series, known(dataset))
        _draw_each(axes[4:-2], dataset, abscissa, series, more)
        _draw_ess(axes[-2], dataset, abscissa, series)
        _draw_log_z(axes[-1], dataset, abscissa, series)
        for ax in axes[-2:]:
            ax.set_xlabel(_abscissa_label(dataset, abscissa))
        _legend(figure, dataset, series)
    return figure


def _draw_lattice(
    axes: Sequence[Axes], dataset: Dataset, abscissa: str, series: list[_Series]
) -> None:
    plain, absolute, chi, binder = axes
    _draw(plain, dataset, abscissa, series, "magnetization")
    _draw(absolute, dataset, abscissa, series, "abs_magnetization")
    _draw(chi, dataset, abscissa, series, "susceptibility")
    _draw(chi, dataset, abscissa, series, "susceptibility_abs", marker="s")
    _draw(binder, dataset, abscissa, series, "binder_cumulant")
    chi.set_ylabel(r"$\chi,\ \chi_{|M|}$")
    _name_susceptibilities(chi)
    _frame(plain, dataset, "magnetization")
    _frame(absolute, dataset, "abs_magnetization")
    _frame(chi, dataset, "susceptibility", "susceptibility_abs", logarithmic=True)
    _frame(binder, dataset, "binder_cumulant")


def _draw_each(
    axes: Sequence[Axes],
    dataset: Dataset,
    abscissa: str,
    series: list[_Series],
    names: Sequence[str],
) -> None:
    """The first of these observables, as many as there are panels."""
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes, names, strict=False):
        _draw(ax, dataset, abscissa, series, name)
        _frame(ax, dataset, name)


def _series(dataset: Dataset) -> tuple[str, list[_Series]]:
    """The coupling to plot against, and the curves that the points make up."""
    names = _coupling_names(dataset)
    if not names:
        raise LatticeFlowsError(f"{dataset.path} has no couplings to plot against: scan again")
    distinct = {name: np.unique(dataset[name]).size for name in names}
    abscissa = max(names, key=lambda name: distinct[name])
    # a coupling that only changes together with the abscissa (mass with mu) makes no further curves
    pairs = {name: np.stack([dataset[abscissa], dataset[name]], axis=1) for name in names}
    others = [n for n in names if len(np.unique(pairs[n], axis=0)) > distinct[abscissa]]
    rows = np.stack([dataset[name] for name in others], axis=1) if others else None
    keys = [()] if rows is None else [tuple(row) for row in np.unique(rows, axis=0)]
    if len(keys) > len(COLOURS):
        raise LatticeFlowsError(
            f"{dataset.path} varies {', '.join([abscissa, *others])}: {len(keys)} curves, where a "
            f"figure shows {len(COLOURS)} at most; scan fewer values"
        )
    series = []
    for key, colour in zip(keys, COLOURS, strict=False):
        chosen = dict(zip(others, key, strict=True))
        points = _ordered(dataset, abscissa, chosen, "")
        curve = None
        if all(f"{name}_curve" in dataset for name in (abscissa, *others)):
            curve = _ordered(dataset, abscissa, chosen, "_curve")
        label = ", ".join(
            f"${symbol(dataset, name)}={value:.6g}$" for name, value in chosen.items()
        )
        series.append(_Series(points, curve, colour, label))
    return abscissa, series


def _coupling_names(dataset: Dataset) -> list[str]:
    """The couplings along `coupling_point`, in the order of the theory's list."""
    names = coupling_names(dataset)
    return [name for name in names if dataset.variables[name].dimensions == ("coupling_point",)]


def _abscissa_label(dataset: Dataset, abscissa: str) -> str:
    """The symbol of the coupling, and of those set to the same values (M = μ)."""
    names = _coupling_names(dataset)
    same = [name for name in names if np.array_equal(dataset[name], dataset[abscissa])]
    return "$" + "=".join(symbol(dataset, name) for name in same) + "$"


def _ordered(dataset: Dataset, abscissa: str, chosen: dict, suffix: str) -> NDArray[np.intp]:
    """Indices of the points with the chosen couplings, by ascending abscissa."""
    x = dataset[abscissa + suffix]
    mask = np.ones(x.shape, dtype=bool)
    for name, value in chosen.items():
        mask &= np.isclose(dataset[name + suffix], value)
    (indices,) = np.nonzero(mask)
    return indices[np.argsort(x[indices], kind="stable")]


def _combined(dataset: Dataset) -> bool:
    """Whether the draws of all points were measured at each."""
    if "lf_provenance" not in dataset.attributes:
        return False
    return bool(dataset.json("lf_provenance").get("combined"))


def _reliable(dataset: Dataset) -> NDArray[np.bool_]:
    reliable = dataset.get("reliable")
    return np.ones(len(dataset["ess"]), dtype=bool) if reliable is None else reliable


def _points(ax: Axes, x, y, error, reliable, colour: str, marker: str = "o") -> None:
    """Points with error bars; hollow and red where they can't be believed."""
    error = np.where(np.isfinite(error), error, np.nan)
    for mask, edge, face in ((reliable, colour, colour), (~reliable, UNRELIABLE, "white")):
        if mask.any():
            ax.errorbar(
                x[mask], y[mask], error[mask], color=edge, markerfacecolor=face, zorder=3,
                marker=marker, markersize=3.5, markeredgewidth=0.9, linestyle="none", elinewidth=1,
                capsize=2,
            )  # fmt: skip


def _draw(
    ax: Axes, dataset: Dataset, abscissa: str, series: list[_Series], name: str, marker: str = "o"
) -> None:
    """One observable of a scan: exact curves below, points above."""
    x, y, error = dataset[abscissa], dataset[name], dataset[f"{name}_stderr"]
    exact, dense = dataset.get(f"{name}_exact"), dataset.get(f"{name}_curve")
    reliable = _reliable(dataset)
    for s in series:
        p, colour = s.points, "black" if len(series) == 1 else s.colour
        if dense is not None and s.curve is not None:
            ax.plot(dataset[f"{abscissa}_curve"][s.curve], dense[s.curve], color=colour, lw=0.9)
        elif exact is not None:
            ax.plot(x[p], exact[p], color=colour, lw=0.9)
        _points(ax, x[p], y[p], error[p], reliable[p], s.colour, marker)
    ax.set_ylabel(label(name, dataset))


def _name_susceptibilities(ax: Axes) -> None:
    """Two susceptibilities share a panel: say which marks are which."""
    for marker, text in (
        ("o", r"$\chi = V\,(\langle M^2\rangle - \langle M\rangle^2)$"),
        ("s", r"$\chi_{|M|} = V\,(\langle M^2\rangle - \langle |M|\rangle^2)$"),
    ):
        ax.plot([], [], marker, color=GREY, markersize=3.5, label=text)
    ax.legend(loc="best", fontsize=8, handletextpad=0.2)


def _frame(ax: Axes, dataset: Dataset, *names: str, logarithmic: bool = False) -> None:
    """Choose the range by what can be believed: an unreliable point may lie anywhere."""
    believed = _reliable(dataset)
    if not believed.any():
        return
    values = []
    for name in names:
        y, error = dataset[name][believed], dataset[f"{name}_stderr"][believed]
        lines = (dataset.get(f"{name}_exact"), dataset.get(f"{name}_curve"))
        values += [y - error, y + error, *(line for line in lines if line is not None)]
    y = np.concatenate(values)
    y = y[np.isfinite(y) & ((y > 0) if logarithmic else True)]
    if not y.size:
        return
    if logarithmic:
        ax.set_yscale("log")
        y = np.log(y)
    errors = np.concatenate([dataset[f"{name}_stderr"][believed] for name in names])
    if not logarithmic and np.abs(y).max() < _ROUNDING and np.nanmax(errors) < _ROUNDING:
        y = np.array([-1.0, 1.0])  # zero by a symmetry
    margin = 0.06 * max(np.ptp(y), 1e-3 * np.abs(y).max(), 1e-12)
    limits = y.min() - margin, y.max() + margin
    ax.set_ylim(*(np.exp(limits) if logarithmic else limits))


def _draw_ess(ax: Axes, dataset: Dataset, abscissa: str, series: list[_Series]) -> None:
    x, y, reliable = dataset[abscissa], dataset["ess"], _reliable(dataset)
    for s in series:
        p = s.points
        _points(ax, x[p], y[p], np.zeros(len(p)), reliable[p], s.colour)
    ax.set_ylim(0, 1.08)
    ax.set_ylabel(r"ESS$\,/\,n$")


def _draw_log_z(ax: Axes, dataset: Dataset, abscissa: str, series: list[_Series]) -> None:
    exact = dataset.get("log_z_exact")
    if exact is None:
        _draw(ax, dataset, abscissa, series, "log_z")
        _frame(ax, dataset, "log_z")
        return
    x, reliable = dataset[abscissa], _reliable(dataset)
    with np.errstate(divide="ignore", invalid="ignore"):
        pull = (dataset["log_z"] - exact) / dataset["log_z_stderr"]
    ax.axhspan(-1, 1, color="0.9", linewidth=0)
    ax.axhline(0, color="black", linewidth=0.9)
    for s in series:
        p = s.points
        _points(ax, x[p], np.clip(pull[p], -4.5, 4.5), np.zeros(len(p)), reliable[p], s.colour)
    ax.set_ylim(-5, 5)
    ax.set_yticks([-3, 0, 3])
    ax.set_ylabel(r"$\Delta\log Z\,/\,\sigma$")


def _legend(figure: Figure, dataset: Dataset, series: list[_Series]) -> None:
    """One line above the figure: what it is of, and what its marks are."""
    from matplotlib.lines import Line2D

    def mark(label: str, colour: str, face: str | None = None, line: bool = False) -> Line2D:
        return Line2D(
            [], [], color=colour, label=label, linestyle="-" if line else "none", linewidth=0.9,
            marker="" if line else "o", markersize=3.5, markerfacecolor=face or colour,
        )  # fmt: skip

    single = len(series) == 1
    what = "flow, all draws at each point" if _combined(dataset) else "flow, reweighted"
    entries = [mark(s.label or what, s.colour) for s in series]
    if any(name.endswith("_exact") for name in dataset.variables):
        entries.insert(0, mark("exact", "black" if single else GREY, line=True))
    if not _reliable(dataset).all():
        entries.append(mark("unreliable", UNRELIABLE, "white"))
    figure.legend(handles=entries, loc="outside upper center", ncols=5, title=title_of(dataset))
