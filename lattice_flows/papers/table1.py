"""Two Gaussian mixtures in the plane: Table 1 of Máté & Fleuret, arXiv:2301.07388.

Four modes around the base (their eq. 2), and two on one side and the other of it, at different
distances and with different weights (eq. 11). The field knows of no symmetry and no modes. What the
paper shows, and must be seen here as well, is what fails: reverse KL settles on a part of the
modes, and so does the deformation along the linear path where the modes are unequal; along a
learned path, or by diffusion, it finds both.
"""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from lattice_flows.figures.style import COLOURS, STYLE
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.runs import number, over_seeds, trained
from lattice_flows.runs.config import Config
from lattice_flows.sampling.evaluation import evaluate
from observables import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWS, _SHOWN = 8192, 2000
MIXTURES = {"gmm-4": ("eq. 2", 1.0), "gmm-2": ("eq. 11", 2.0)}
"""The paper's name of each, and the width of the base."""
_OWN = {"points": "trajectories", "width": 64}
_QUICK = {**_OWN, "batch": 2048, "learning_rate": 0.01, "ode_steps": 24}
_PAPER_OWN = {**_OWN, "batch": 4096, "steps": 10_000, "penalty": "sum", "ode_steps": 50}
_REVERSE = {"objective": "reverse-kl", "width": 64}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {
        "reverse KL": {
            **_REVERSE,
            "batch": 128,
            "steps": 800,
            "ode_steps": 12,
            "learning_rate": 0.001,
        },
        "linear": {**_QUICK, "interpolation": "linear", "steps": 2000},
        "learned": {**_QUICK, "interpolation": "learned", "steps": 3000},
        "diffusion": {**_QUICK, "interpolation": "diffusion", "steps": 2500, "penalty": "sum"},
    },
    "paper": {
        "reverse KL": {**_REVERSE, "batch": 256, "steps": 10_000, "ode_steps": 50},
        "linear": {**_PAPER_OWN, "interpolation": "linear"},
        "learned": {**_PAPER_OWN, "interpolation": "learned"},
        "diffusion": {**_PAPER_OWN, "interpolation": "diffusion"},
    },
}
"""Options of each method. The paper's are those of its program: Adam at .003, 256 trajectories of
50 steps, 10,000 updates, |E| + E², two hidden layers of 64; its 4 networks share a trunk here."""
METHODS = tuple(PRESETS["quick"])
METRICS = {
    "coverage": "effective sample size of q/p over exact samples (the paper's forward ESS)",
    "ess_forward": "effective sample size over exact samples",
    "kl_forward": "KL(p||q)",
    "hausdorff": "largest distance from a mode to the nearest draw",
    "ess_reverse": "effective sample size over draws of the flow",
    "log_z": "logarithm of the partition function",
}
_PRINTED = {"coverage": "forward ESS", "kl_forward": "KL(p||q)", "hausdorff": "Hausdorff distance"}
_PAPER = {
    "reverse KL": ((0.254, 110.6, 19.3), (0.332, 74.4, 13.25)),
    "linear": ((0.998, 0.001, 0.060), (0.336, 37.7, 2.33)),
    "learned": ((0.999, 0.000, 0.053), (1.000, 0.000, 0.045)),
}


def run_of(settings: Settings, theory: str, method: str, seed: int) -> tuple[str, Config]:
    """Name and configuration of the run that trains one of `MIXTURES` by one of `METHODS`."""
    name = f"table1-{settings.preset}-{theory}-{method.replace(' ', '-')}-{seed}"
    options = PRESETS[settings.preset][method]
    return name, Config(theory, (2,), base_width=MIXTURES[theory][1], seed=seed, **options)


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Train and judge every method on both mixtures."""
    rows, values, draws = [], [], []
    seeds = range(settings.seed, settings.seed + settings.seeds)
    for i, (theory, (equation, _)) in enumerate(MIXTURES.items()):
        for method in METHODS:
            reports = []
            for seed in seeds:
                sampler = trained(settings, *run_of(settings, theory, method, seed))
                couplings = sampler.theory.from_values()
                reports.append(evaluate(sampler, couplings, jax.random.key(seed), _DRAWS))
                if seed == settings.seed:
                    key = jax.random.fold_in(jax.random.key(seed), 1)
                    draws.append(sampler.draw(couplings, key, _SHOWN).configurations)
            numbers = {key: [number(r, key) for r in reports] for key in METRICS}
            values.append([[x.value for x in numbers[key]] for key in METRICS])
            for k, (key, label) in enumerate(_PRINTED.items()):
                paper = Estimate(_PAPER[method][i][k], 0.0) if method in _PAPER else None
                rows.append(Row(f"{label}, {method}, {equation}", over_seeds(numbers[key]), paper))
    shape = (len(MIXTURES), len(METHODS))
    table = np.array(values).reshape(*shape, len(METRICS), settings.seeds)
    at = ("mixture", "method")
    return rows, {
        **{
            key: Variable((*at, "seed"), table[:, :, k], what)
            for k, (key, what) in enumerate(METRICS.items())
        },
        "draws": Variable(
            (*at, "draw", "component"),
            np.array(draws).reshape(*shape, _SHOWN, 2),
            "draws of the flow, the first seed's, without weights",
        ),
    }


def draw(dataset: Dataset) -> "Figure":
    """The draws of every method, without weights, and what they cover."""
    import matplotlib
    from matplotlib.figure import Figure

    draws, coverage = dataset["draws"], dataset["coverage"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.8, 4.8), layout="constrained")
        rows, columns = len(MIXTURES), len(METHODS)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for i, (equation, _) in enumerate(MIXTURES.values()):
            for j, method in enumerate(METHODS):
                ax = axes[i, j]
                ax.scatter(*draws[i, j].T, s=1.5, color=COLOURS[0], alpha=0.4, linewidths=0)
                ax.set(xlim=(-13, 13), ylim=(-13, 13), aspect="equal")
                ax.text(0.97, 0.03, f"{coverage[i, j, 0]:.3f}", ha="right", transform=ax.transAxes)
                if i == 0:
                    ax.set_title(method, fontsize=10)
            axes[i, 0].set_ylabel(f"{equation}")
    return figure


EXPERIMENT = Experiment(
    name="table1",
    title="two Gaussian mixtures in the plane, by an oblivious field",
    references="Mate & Fleuret, arXiv:2301.07388, Table 1, eqs. (2) and (11)",
    run=run,
    draw=draw,
    trains=True,
)
