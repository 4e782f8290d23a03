"""Forty Gaussians in the plane: what Chemseddine et al., arXiv:2410.03282, test on.

A gradient flow from N(0, 1), which has to find modes up to forty of its widths away, beside the
linear and the learned path from N(0, 30²) with an oblivious field. The numbers are ours alone: the
paper's table for its own means is not at hand. A mode is covered if its share of the draws, without
weights, is at least half of what is due to it.
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
from theories.mixtures import FortyGaussians

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWS, _SHOWN = 16384, 4000
_FIELD = {"base_width": 30.0, "batch": 2048, "learning_rate": 0.01, "width": 128, "ode_steps": 40}
_FIELD |= {"points": "box", "half_box": 45.0}
METHODS: dict[str, dict[str, Any]] = {
    "gradient flow": {
        "objective": "gradient-flow",
        "points": "box",
        "half_box": 40.0,
        "penalty": "huber",
        "batch": 2048,
        "width": 128,
        "ode_steps": 40,
    },
    "linear": {**_FIELD, "interpolation": "linear"},
    "learned": {**_FIELD, "interpolation": "learned"},
}
STEPS = {
    "quick": {"gradient flow": 1500, "linear": 3000, "learned": 3000},
    "paper": {"gradient flow": 20_000, "linear": 20_000, "learned": 20_000},
}
METRICS = {
    "covered": "modes with at least half of their share of the draws",
    "least_share": "share of the draws of the mode that is drawn least, times 40",
    "greatest_share": "share of the draws of the mode that is drawn most, times 40",
    "ess_forward": "effective sample size over exact samples",
    "ess_reverse": "effective sample size over draws of the flow",
    "coverage": "effective sample size of q/p over exact samples",
    "kl_forward": "KL(p||q)",
    "log_z": "logarithm of the partition function",
    "energy_distance": "energy distance to exact samples",
}
_PRINTED = {"covered": "modes covered", "ess_forward": "forward ESS", "log_z": "log Z"}
_EXACT = {"covered": 40.0, "log_z": 0.0}


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Train and judge every method."""
    rows, values, draws = [], [], []
    for method, options in METHODS.items():
        numbers = []
        for seed in range(settings.seed, settings.seed + settings.seeds):
            steps = STEPS[settings.preset][method]
            config = Config("gmm-40", (2,), steps=steps, seed=seed, **options)
            name = f"gmm40-{settings.preset}-{method.replace(' ', '-')}-{seed}"
            sampler = trained(settings, name, config)
            couplings = sampler.theory.from_values()
            report = evaluate(sampler, couplings, jax.random.key(seed), _DRAWS)
            key = jax.random.fold_in(jax.random.key(seed), 1)
            drawn = np.asarray(sampler.draw(couplings, key, _DRAWS).configurations)
            shares = 40 * sampler.theory.modes(drawn).mean(axis=0)
            counted = {
                "covered": Estimate(float(np.sum(shares >= 0.5)), 0.0),
                "least_share": Estimate(float(shares.min()), 0.0),
                "greatest_share": Estimate(float(shares.max()), 0.0),
            }
            judged = {key: number(report, key) for key in METRICS if key not in counted}
            numbers.append(counted | judged)
            if seed == settings.seed:
                draws.append(drawn[:_SHOWN])
        values.append([[x[key].value for x in numbers] for key in METRICS])
        rows += [
            Row(
                f"{label}, {method}",
                over_seeds([x[key] for x in numbers]),
                exact=_EXACT.get(key),
            )
            for key, label in _PRINTED.items()
        ]
    table = np.array(values)
    return rows, {
        **{
            key: Variable(("method", "seed"), table[:, k], what)
            for k, (key, what) in enumerate(METRICS.items())
        },
        "draws": Variable(
            ("method", "draw", "component"),
            np.array(draws),
            "draws of the flow, the first seed's, without weights",
        ),
        "centre": Variable(("mode", "component"), FortyGaussians.means, "centres of the modes"),
    }


def draw(dataset: Dataset) -> "Figure":
    """The draws of every method, without weights, and the centres of the modes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.8, 3.2), layout="constrained")
        axes = figure.subplots(1, len(METHODS), squeeze=False, sharex=True, sharey=True)[0]
        for i, (ax, method) in enumerate(zip(axes, METHODS, strict=True)):
            ax.scatter(*dataset["draws"][i].T, s=1, color=COLOURS[0], alpha=0.4, linewidths=0)
            ax.scatter(*dataset["centre"].T, s=14, marker="+", color="black", linewidths=0.6)
            ax.set(xlim=(-48, 48), ylim=(-48, 48), aspect="equal")
            ax.set_title(f"{method}, ESS {dataset['ess_forward'][i, 0]:.2f}", fontsize=10)
    return figure


EXPERIMENT = Experiment(
    name="gmm40",
    title="forty Gaussians in the plane",
    references="Chemseddine, Wald, Duong & Steidl, arXiv:2410.03282",
    run=run,
    draw=draw,
    trains=True,
)
