"""Flows trained from scratch at single couplings of a chain, judged against exact answers.

What `table2` and `double-well` share. The flows are the program's own, with its defaults for the
"quick" preset and five times the steps for "paper"; the papers' networks are not rebuilt here.

The paper's "reverse KL" is E_q[log q + S] = KL(q‖p) - log Z. A flow that has lost a well differs
there by less than the eye notices; forward ESS and the histogram of M show it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from lattice_flows.figures.style import COLOURS, STYLE
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.papers.experiment import Row, Settings
from lattice_flows.papers.runs import number, over_seeds, trained
from lattice_flows.runs.config import Config
from lattice_flows.sampling.evaluation import evaluate
from lattice_flows.sampling.sampler import Sampler
from observables import Estimate
from observables.magnetization import magnetization
from theories import TransferMatrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWS = 16384
STEPS = {"quick": 2000, "paper": 10_000}
"""Of the deformation loss with our field."""
_BINS = 60
METRICS = {
    "kl_reverse": "KL(q||p)",
    "kl_forward": "KL(p||q)",
    "ess_reverse": "effective sample size over draws of the flow",
    "ess_forward": "effective sample size over exact samples",
    "coverage": "effective sample size of q/p over exact samples",
    "positive_mode_weight": "probability of a positive magnetization P(M > 0)",
    "log_z": "logarithm of the partition function",
}


class Case(NamedTuple):
    """A flow to be trained: how the rows and the run are called, and the paper's numbers.

    config: its seed is not used. paper: by the names "free_energy" and "ess_reverse".
    """

    label: str
    name: str
    config: Config
    paper: Mapping[str, Estimate] = {}

    def run_of(self, seed: int) -> tuple[str, Config]:
        """Name and configuration of the run with this seed."""
        return f"{self.name}-{seed}", replace(self.config, seed=seed)


def judge(settings: Settings, cases: Sequence[Case]) -> tuple[list[Row], dict[str, Variable]]:
    """Train, or take from `settings.runs`, a flow of each case and seed; rows and variables."""
    seeds = range(settings.seed, settings.seed + settings.seeds)
    rows, numbers, exacts, histograms = [], [], [], []
    for case in cases:
        reports = []
        for seed in seeds:
            sampler = trained(settings, *case.run_of(seed))
            couplings = sampler.theory.from_values(**case.config.check_couplings({}))
            report = evaluate(sampler, couplings, jax.random.key(seed), _DRAWS)
            reports.append({key: number(report, key) for key in METRICS})
            if seed == settings.seed:
                histograms.append(_histogram(sampler, couplings, seed))
                exacts.append(sampler.theory.exact(couplings))
        rows += _rows(case.label, reports, exacts[-1], case.paper)
        numbers.append(reports)
    return rows, _variables(numbers, exacts, histograms)


def _rows(
    label: str,
    reports: Sequence[Mapping[str, Estimate]],
    exact: TransferMatrix,
    paper: Mapping[str, Estimate],
) -> list[Row]:
    """The table's rows for one coupling point, from the numbers of every seed."""
    ours = {key: over_seeds([report[key] for report in reports]) for key in METRICS}
    kl = ours["kl_reverse"]
    return [
        Row(
            f"E_q[log q + S], {label}",
            Estimate(kl.value - exact.log_z, kl.stderr),
            paper.get("free_energy"),
            -exact.log_z,
        ),
        Row(f"reverse ESS, {label}", ours["ess_reverse"], paper.get("ess_reverse")),
        Row(f"forward ESS, {label}", ours["ess_forward"]),
        Row(f"coverage, {label}", ours["coverage"]),
        Row(f"P(M>0), {label}", ours["positive_mode_weight"], exact=exact.positive_mode_weight),
    ]


def _histogram(sampler: Sampler, couplings: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bin edges and the density of M over draws of the flow, without weights."""
    key = jax.random.fold_in(jax.random.key(seed), 1)
    m = magnetization(sampler.draw(couplings, key, _DRAWS).configurations)
    density, edges = np.histogram(m, _BINS, density=True)
    return edges, density


def _variables(
    numbers: Sequence[Sequence[Mapping[str, Estimate]]],
    exacts: Sequence[TransferMatrix],
    histograms: Sequence[tuple[np.ndarray, np.ndarray]],
) -> dict[str, Variable]:
    at, each = ("coupling_point",), ("coupling_point", "seed")
    curves = [exact.magnetization_distribution(401) for exact in exacts]
    return {
        **{
            key: Variable(each, np.array([[r[key].value for r in row] for row in numbers]), what)
            for key, what in METRICS.items()
        },
        **{
            f"{key}_exact": Variable(
                at, np.array([getattr(exact, key) for exact in exacts]), f"{METRICS[key]}, exact"
            )
            for key in ("log_z", "positive_mode_weight")
        },
        **_stacked("bin_edge", "histogram", histograms, "density of M over draws of the flow"),
        **_stacked("magnetization", "magnetization_density_exact", curves, "exact P(M)"),
    }


def _stacked(axis: str, name: str, pairs: Sequence, what: str) -> dict[str, Variable]:
    x, y = (np.array(part) for part in zip(*pairs, strict=True))
    at = "coupling_point"
    return {
        axis: Variable((at, f"{axis}_index"), x, "magnetization M"),
        name: Variable((at, "bin" if y.shape != x.shape else f"{axis}_index"), y, what),
    }


def draw_histograms(
    dataset: Dataset, shown: str, symbol: str, rows: Sequence[str] = ("",)
) -> "Figure":
    """The histogram of M of the flow's draws, unweighted, beside the exact P(M), at each point.

    One row of panels for each name in `rows`, along the leading axis of the histograms.
    """
    import matplotlib
    from matplotlib.figure import Figure

    values = dataset[shown]
    edges, densities = (
        x.reshape(-1, *x.shape[-2:]) for x in (dataset["bin_edge"], dataset["histogram"])
    )
    with matplotlib.rc_context(STYLE):
        size = (2.6 * len(values), 0.5 + 2.1 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(rows), len(values), squeeze=False, sharex="col", sharey="col")
        for (k, i), ax in np.ndenumerate(axes):
            m, exact = dataset["magnetization"][i], dataset["magnetization_density_exact"][i]
            seen = np.append(edges[:, i], m[exact > 1e-3 * exact.max()])  # wells that are lost, too
            ax.stairs(
                densities[k, i],
                edges[k, i],
                color=COLOURS[0],
                fill=True,
                alpha=0.3,
                label="flow, draws",
            )
            ax.plot(m, exact, color="black", linewidth=0.9, label="exact")
            ax.set(ylim=(0, None), xlim=(1.1 * seen.min(), 1.1 * seen.max()))
            if k == 0:
                ax.set_title(f"${symbol}={values[i]:g}$", fontsize=10)
            if k == len(rows) - 1:
                ax.set_xlabel("$M$")
        for ax, row in zip(axes[:, 0], rows, strict=True):
            ax.set_ylabel(f"{row}\n$P(M)$".strip())
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure
