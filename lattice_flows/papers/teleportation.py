"""A path of densities that no flow can follow: arXiv:2410.03282, figs. 1, 2 and 4.

`theories.teleportation` has the mathematics. Those figures draw ‖v_t‖² for wells at distances 1, 5,
15 and 50, without numbers to lay ours beside; the check is the closed form at t = 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from lattice_flows.figures.style import COLOURS, STYLE
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.papers.experiment import Experiment, Row, Settings
from observables import Estimate
from theories.teleportation import Teleportation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLE = (1.0, 5.0, 10.0, 15.0, 50.0)
DISTANCES = (1.0, 5.0, 15.0, 50.0)
TIMES = np.linspace(0, 1, 201)
SNAPSHOT_DISTANCE = 15.0
SNAPSHOT_TIMES = np.array([0.0, 0.5, 0.8, 0.9, 0.95, 1.0])
POSITIONS = np.linspace(-5, 20, 1001)  # the corners 0, 7.5 and 15 are among them


def run(settings: Settings) -> tuple[Sequence[Row], Mapping[str, Variable]]:
    """‖v_1‖² by quadrature beside its closed form; ‖v_t‖² against t; p_t and v_t at some times."""
    rows = [_row(m) for m in TABLE]
    norms = [jax.lax.map(Teleportation(m).squared_norm, TIMES) for m in DISTANCES]
    path = Teleportation(SNAPSHOT_DISTANCE)
    density, velocity = (
        jax.jit(jax.vmap(function, (0, None)))(SNAPSHOT_TIMES, POSITIONS)
        for function in (path.density, path.velocity)
    )
    snapshot = ("snapshot_time", "position")
    return rows, {
        "time": Variable(("time",), TIMES, "flow time t"),
        "distance": Variable(("distance",), np.array(DISTANCES), "distance m of the wells"),
        "squared_norm": Variable(
            ("distance", "time"), np.array(norms), "squared norm of v_t in L2(p_t)"
        ),
        "snapshot_distance": Variable(
            (), np.array(SNAPSHOT_DISTANCE), "distance m of the wells of density and velocity"
        ),
        "snapshot_time": Variable(("snapshot_time",), SNAPSHOT_TIMES, "flow time t"),
        "position": Variable(("position",), POSITIONS, "position x"),
        "density": Variable(snapshot, np.asarray(density), "density p_t(x)"),
        "velocity": Variable(snapshot, np.asarray(velocity), "velocity v_t(x)"),
    }


def _row(m: float) -> Row:
    path = Teleportation(m)
    norm = float(jax.jit(path.squared_norm)(1.0))
    return Row(f"‖v_1‖² at m = {m:g}", Estimate(norm, 0.0), exact=path.final_squared_norm())


def draw(dataset: Dataset) -> Figure:
    """p_t and v_t at some times, the later the darker, and ‖v_t‖² against t.

    Raises LatticeFlowsError if a variable is missing.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.3), layout="constrained")
        density, velocity, norm = figure.subplots(1, 3)
        _draw_density(density, dataset)
        _draw_velocity(velocity, dataset)
        _draw_norm(norm, dataset)
        for ax in (density, velocity):
            ax.set(xlabel="$x$", xlim=(dataset["position"][0], dataset["position"][-1]))
            ax.set_title(f"$m={float(dataset['snapshot_distance']):g}$", fontsize=10)
    return figure


def _draw_density(ax: Axes, dataset: Dataset) -> None:
    """One above the other: they would hide each other at the well at 0."""
    x, times, densities = dataset["position"], dataset["snapshot_time"], dataset["density"]
    floors = 0.6 * densities.max() * np.arange(len(times))
    for floor, p, colour, layer in zip(
        floors, densities, _by_time(dataset), -np.arange(len(times)), strict=True
    ):
        ax.fill_between(x, floor, floor + p, color=colour, alpha=0.25, lw=0, zorder=layer - 0.5)
        ax.plot(x, floor + p, color=colour, linewidth=1.1, zorder=layer)
    ax.set_yticks(floors, [f"${t:g}$" for t in times])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.08 * densities.max(), None)
    ax.set_ylabel("$p_t(x)$  at  $t$")


def _draw_velocity(ax: Axes, dataset: Dataset) -> None:
    for t, v, colour in zip(
        dataset["snapshot_time"], dataset["velocity"], _by_time(dataset), strict=True
    ):
        ax.plot(dataset["position"], v, color=colour, linewidth=1.1, label=f"${t:g}$")
    ax.set_yscale("asinh", linear_width=1.0)  # logarithmic at both ends, smooth across 0
    top = int(np.log10(dataset["velocity"].max()))
    powers = [10.0**k for k in range(1, top + 1, 2)]
    ax.set_yticks(
        [-10, 0, *powers], ["$-10$", "$0$", *(f"$10^{{{np.log10(p):.0f}}}$" for p in powers)]
    )
    ax.minorticks_off()
    ax.set_ylabel("$v_t(x)$")
    ax.legend(title="$t$", handlelength=1.2, labelspacing=0.25, loc="upper right")


def _draw_norm(ax: Axes, dataset: Dataset) -> None:
    for m, norm, colour in zip(dataset["distance"], dataset["squared_norm"], COLOURS, strict=False):
        ax.plot(dataset["time"], norm, color=colour, linewidth=1.1, label=f"$m={m:g}$")
    ax.set_yscale("log")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="upper left")  # in the order of the curves
    ax.set(xlabel="$t$", ylabel=r"$\Vert v_t\Vert^2$ in $L^2(p_t)$", xlim=(0, 1))


def _by_time(dataset: Dataset) -> list[tuple[float, ...]]:
    """A colour for each snapshot, from light to dark."""
    import matplotlib

    shades = np.linspace(0.1, 0.95, len(dataset["snapshot_time"]))
    return [matplotlib.colormaps["viridis_r"](shade) for shade in shades]


EXPERIMENT = Experiment(
    name="teleportation",
    title="velocity norm of the linear path between a Laplace density and two wells",
    references="Chemseddine, Wald, Duong & Steidl, arXiv:2410.03282, figs. 1, 2 and 4",
    run=run,
    draw=draw,
)
