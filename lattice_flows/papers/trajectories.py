"""Draws on their way, and the densities that they follow: Máté & Fleuret, arXiv:2301.07388.

Their figs. 1, 3, 4, 7 and 8. The draws x_t of a flow have a known density q_t at every time, and
weights as draws of p_t = e^{-f_t}/Z_t:

    w_t = e^{-f_t(x_t)}/q_t(x_t),      ESS = (Σw_t)²/(n Σw_t²),      ⟨w_t⟩ = Z_t.

Of a flow that has lost a mode the ESS says nothing: its draws agree with one another. But they
never find the weight that lies in that mode, and ⟨w_t⟩/Z_t is the share of p_t that they do find.
In the plane Z_t is a sum over a grid.

The mixture of eq. (11) is flown along three paths by the runs of `table1`, φ⁴ theory on the cycle
graph along the linear one: from the mean-field base of `table2`, whose magnetization has two wells
from the start, and from the paper's base of independent sites, which has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from lattice_flows.figures.style import COLOURS, STYLE
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.papers import table1, table2
from lattice_flows.papers.chains import Case
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.runs import over_seeds, trained
from lattice_flows.sampling.sampler import Sampler
from observables import Estimate, kish_ess, log_mean_weight, magnetization
from theories import Phi4

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

MIXTURE, PATHS = "gmm-2", ("linear", "learned", "diffusion")
TIMES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
GRID = np.linspace(-13, 13, 105)
BASES = ("mean-field", "ultralocal")
"""For φ⁴ theory, m = 1."""
CHAIN_TIMES = np.linspace(0, 1, 41)  # those of TIMES among them
_DRAWS, _DOTS, _LINES = 4096, 250, 60


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Follow the draws of every flow: the numbers are of all seeds, the figure of the first."""
    plane_rows, plane = _in_the_plane(settings)
    chain_rows, along = _on_chains(settings)
    return plane_rows + chain_rows, {**plane, **along}


def follow(
    sampler: Sampler, seed: int, times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draws at `times` along their trajectories, (T, n, *shape), and log w_t, (T, n)."""
    model, couplings = sampler.model, _couplings(sampler)
    params = jax.tree.map(lambda x: x.astype(float), sampler.params)

    @jax.jit
    def along(key):
        phi, log_q = model.flow.trajectory(params, key, couplings, _DRAWS, times)
        energy = jax.vmap(model.path.energy, (None, None, 0, None))
        return phi, -jax.vmap(energy, (None, 0, 0, None))(
            params, jnp.asarray(times), phi, couplings
        ) - log_q

    phi, log_weights = along(jax.random.key(seed))
    return np.asarray(phi), np.asarray(log_weights)


def grid_energy(sampler: Sampler) -> NDArray[np.float64]:
    """f_t at `TIMES` on the square of `GRID`, (T, x, y)."""
    params = jax.tree.map(lambda x: x.astype(float), sampler.params)
    couplings, path = _couplings(sampler), sampler.model.path
    points = jnp.stack(jnp.meshgrid(GRID, GRID, indexing="ij"), axis=-1)
    energy = path.energy
    for axis in ((None, None, 0, None), (None, None, 0, None), (None, 0, None, None)):
        energy = jax.vmap(energy, axis)
    return np.asarray(jax.jit(energy)(params, jnp.asarray(TIMES), points, couplings))


def _couplings(sampler: Sampler):
    return sampler.theory.from_values(
        **{name: jnp.asarray(x) for name, x in sampler.config.check_couplings({}).items()}
    )


def _in_the_plane(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """ESS and ⟨w_t⟩/Z_t along each path, p_t on the grid, and draws."""
    rows, densities, dots, esses, found = [], [], [], [], []
    for path in PATHS:
        ess, share = [], []
        for seed in range(settings.seed, settings.seed + settings.seeds):
            sampler = trained(settings, *table1.run_of(settings, MIXTURE, path, seed))
            energy = grid_energy(sampler)
            log_z = logsumexp(-energy, axis=(1, 2)) + 2 * np.log(GRID[1] - GRID[0])
            draws, log_weights = follow(sampler, seed, TIMES)
            ess.append([Estimate(kish_ess(w), 0.0) for w in log_weights])
            share.append([_share(*pair) for pair in zip(log_weights, log_z, strict=True)])
            if seed == settings.seed:
                densities.append(np.exp(-energy - log_z[:, None, None]))
                dots.append(draws[:, :_DOTS])
        rows += _rows("ESS", path, ess) + _rows("⟨w⟩/Z", path, share, exact=1.0)
        esses.append(_values(ess))
        found.append(_values(share))
    each = ("path", "time")
    return rows, {
        "path": Variable(("path",), np.array(PATHS), "path of densities"),
        "time": Variable(("time",), TIMES, "flow time t"),
        "x": Variable(("x",), GRID, "first component"),
        "y": Variable(("y",), GRID, "second component"),
        "density": Variable(
            (*each, "x", "y"), np.array(densities), "density p_t, the first seed's"
        ),
        "draws": Variable(
            (*each, "draw", "component"), np.array(dots), "draws of q_t, the first seed's"
        ),
        "ess": Variable((*each, "seed"), np.array(esses), "effective sample size as draws of p_t"),
        "share_found": Variable((*each, "seed"), np.array(found), "mean weight over Z_t"),
    }


def _on_chains(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """ESS along the path from each base, and M of some draws."""
    shown = np.searchsorted(CHAIN_TIMES, TIMES)
    rows, lines, esses = [], [], []
    for base in BASES:
        ess = []
        for seed in range(settings.seed, settings.seed + settings.seeds):
            sampler = trained(settings, *_chain(settings, base).run_of(seed))
            draws, log_weights = follow(sampler, seed, CHAIN_TIMES)
            ess.append([Estimate(kish_ess(log_weights[k]), 0.0) for k in shown])
            if seed == settings.seed:
                lines.append([magnetization(phi[:_LINES]) for phi in draws])
        rows += _rows("ESS", f"phi4 from {base}", ess)
        esses.append(_values(ess))
    each = ("base", "chain_time")
    return rows, {
        "base": Variable(("base",), np.array(BASES), "base density on the cycle graph"),
        "chain_time": Variable(("chain_time",), CHAIN_TIMES, "flow time t"),
        "magnetization": Variable((*each, "line"), np.array(lines), "M of draws of q_t"),
        "chain_ess": Variable(
            ("base", "time", "seed"), np.array(esses), "effective sample size as draws of p_t"
        ),
    }


def _chain(settings: Settings, base: str) -> Case:
    """The flow of table2, and the same from another base."""
    case = table2.deformation(settings, 1.0)
    if base == case.config.base:
        return case
    name = f"trajectories-{base}-{settings.preset}-1"
    return case._replace(name=name, config=replace(case.config, base=base))


def _share(log_weights: NDArray[np.float64], log_z: float) -> Estimate:
    """⟨w⟩/Z with its error."""
    mean = log_mean_weight(log_weights)
    share = float(np.exp(mean.value - log_z))
    return Estimate(share, share * mean.stderr)


def _rows(
    what: str, where: str, estimates: Sequence[Sequence[Estimate]], exact: float | None = None
) -> list[Row]:
    """A row for each time but the first, where all is exact, from the numbers of every seed."""
    return [
        Row(f"{what} at t = {t:g}, {where}", over_seeds(of_seeds), exact=exact)
        for t, of_seeds in list(zip(TIMES, zip(*estimates, strict=True), strict=True))[1:]
    ]


def _values(estimates: Sequence[Sequence[Estimate]]) -> NDArray[np.float64]:
    """(seeds, T) estimates to (T, seeds) values."""
    return np.array([[estimate.value for estimate in of_seed] for of_seed in estimates]).T


def draw(dataset: Dataset) -> Figure:
    """Draws as dots on √p_t, path by path; below, M of draws along t from each base."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 7.6), layout="constrained")
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(2.6, 1))[:, 0]
        _draw_plane(above, dataset)
        panels = below.subplots(1, len(dataset["base"]), squeeze=False, sharey=True)[0]
        panels[0].set_ylabel("$M$")
        for i, ax in enumerate(panels):
            _draw_chain(ax, dataset, i)
    return figure


def _draw_plane(figure: SubFigure, dataset: Dataset) -> None:
    x, y, density, draws = (dataset[name] for name in ("x", "y", "density", "draws"))
    paths = dataset["path"]
    axes = figure.subplots(len(paths), len(TIMES), sharex=True, sharey=True)
    for i, path in enumerate(paths):
        for j, t in enumerate(TIMES):
            ax = axes[i, j]
            ax.imshow(
                np.sqrt(density[i, j].T / density[i, j].max()),
                extent=(x[0], x[-1], y[0], y[-1]),
                origin="lower",
                cmap="Blues",
                vmax=1.2,
                interpolation="bilinear",
            )
            ax.scatter(*draws[i, j].T, s=1.2, color=COLOURS[1], linewidths=0)
            ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xticks=(-8, 0, 8), yticks=(-8, 0, 8))
            if t > 0:
                ess, share = dataset["ess"][i, j, 0], dataset["share_found"][i, j, 0]
                ax.text(0.04, 0.88, f"ESS ${ess:.2f}$", fontsize=8.5, transform=ax.transAxes)
                found = rf"$\langle w\rangle/Z={share:.2f}$"
                ax.text(0.96, 0.05, found, fontsize=8.5, ha="right", transform=ax.transAxes)
            if i == 0:
                ax.set_title(f"$t={t:g}$", fontsize=10)
        axes[i, 0].set_ylabel(path)


def _draw_chain(ax: Axes, dataset: Dataset, i: int) -> None:
    """M(t) of some draws from base i, coloured by the sign that they end with."""
    t, lines, ess = dataset["chain_time"], dataset["magnetization"][i], dataset["chain_ess"][i]
    for line in lines.T:
        ax.plot(t, line, color=COLOURS[0 if line[-1] > 0 else 1], linewidth=0.6, alpha=0.8)
    ax.set(xlabel="$t$", xlim=(0, 1), xticks=TIMES)
    ax.set_title(f"{Phi4.title}, {dataset['base'][i]} base: ESS {ess[-1, 0]:.2f}", fontsize=10)


EXPERIMENT = Experiment(
    name="trajectories",
    title="draws of flows on their way, beside the densities that they follow",
    references="Mate & Fleuret, arXiv:2301.07388, figs. 1, 3, 4, 7 and 8",
    run=run,
    draw=draw,
    trains=True,
)
