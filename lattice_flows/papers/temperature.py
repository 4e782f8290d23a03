"""Six Gaussians in the plane over temperature: Wahl et al., arXiv:2410.19492.

    p_T(x) ∝ p(x)^{1/T},    T from 0.2 to 5,

narrow and oblique Gaussians that are told apart in the cold and run into one another in the heat.
A flow is trained at T = 1 by maximum likelihood on exact samples, and then made to know T by TRADE
with those samples at its boundary. Beside it that flow alone, reweighted; a flow trained over all
temperatures by reverse KL, and one by the deformation loss, neither of which has seen samples.
Judged by KL(p‖q) and the forward ESS over exact samples, at the temperatures of the paper's table,
which is not at hand.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from lattice_flows.figures.style import COLOURS, STYLE
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.runs import train_afresh
from lattice_flows.runs.config import Config
from lattice_flows.sampling.evaluation import forward_ess
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.training.transfer import transferred
from observables import Estimate, kish_ess
from theories import SixGaussians

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

TEMPERATURES = (0.20691, 0.33598, 0.54556, 0.88587, 1.0, 1.12884, 1.83298, 2.97635, 4.83293)
SHOWN = (0.20691, 0.54556, 1.0, 1.83298, 4.83293)
_RANGE = (0.2, 5.0)  # of β
_SAMPLES, _SHOWN_DRAWS = 4096, 2000
_COMMON: dict[str, Any] = {"base_width": 4.0, "width": 64, "ode_steps": 10, "batch": 512}
# quick: about as many CPU seconds in every way, the boundary counted with TRADE
STEPS = {
    "quick": {"boundary": 6000, "TRADE": 5000, "reverse KL": 16_000, "deformation": 400_000},
    "paper": {"boundary": 20_000, "TRADE": 50_000, "reverse KL": 160_000, "deformation": 4_000_000},
}


class Way(NamedTuple):
    """KL(p‖q), its error and both ESS at every temperature; draws at some; CPU seconds in all."""

    kl: Array
    kl_stderr: Array
    forward: Array
    reverse: Array
    draws: Array
    seconds: float


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Train in every way and look at every temperature."""
    steps, seed = STEPS[settings.preset], settings.seed
    at_one = Config(
        "gmm-6", (2,), objective="likelihood", steps=steps["boundary"], seed=seed, **_COMMON
    )
    boundary, spent = train_afresh(settings, at_one)
    ways = {"reweighting": _judged(boundary, seed, spent, reweighted=True)}
    taught = Config(
        "gmm-6",
        (2,),
        {"beta": _RANGE},
        objective="trade",
        boundary="samples",
        source=asdict(at_one),
        steps=steps["TRADE"],
        seed=seed,
        **_COMMON,
    )
    flow, more = train_afresh(settings, taught, transferred(boundary.params, at_one, taught))
    ways["TRADE"] = _judged(flow, seed, spent + more)
    for name, objective in {"reverse KL": "reverse-kl", "deformation": "deformation"}.items():
        config = Config(
            "gmm-6",
            (2,),
            {"beta": _RANGE},
            objective=objective,
            steps=steps[name],
            seed=seed,
            **_COMMON,
        )
        flow, alone = train_afresh(settings, config)
        ways[name] = _judged(flow, seed, alone)
    return _rows(ways), _variables(ways)


def _judged(sampler: Sampler, seed: int, seconds: float, reweighted: bool = False) -> Way:
    """A flow at all temperatures, or one at T = 1 with weights that carry it there."""
    theory = SixGaussians()
    numbers, draws = [], []
    for i, temperature in enumerate(TEMPERATURES):
        couplings = theory.from_values(beta=1 / temperature)
        at = theory.from_values() if reweighted else couplings
        exact = theory.exact(couplings)
        assert exact is not None  # for β in [0.1, 5]
        key = jax.random.fold_in(jax.random.key(seed), i)
        ensemble = sampler.draw(at, key, _SAMPLES)
        samples = exact.sample(np.random.default_rng([seed, i]), _SAMPLES)

        def moved(x: Array, here: Any = couplings, there: Any = at) -> Array:
            action = jax.vmap(lambda x: theory.action(x, there) - theory.action(x, here))
            return np.asarray(action(x))

        phi = np.asarray(ensemble.configurations)
        log_weights = np.asarray(ensemble.log_weights) + moved(phi)
        log_ratio = sampler.log_weights(samples, at) + moved(samples) - exact.log_z
        error = log_ratio.std(ddof=1) / np.sqrt(_SAMPLES)
        numbers.append([log_ratio.mean(), error, forward_ess(log_ratio), kish_ess(log_weights)])
        if temperature in SHOWN:
            draws.append(ensemble.configurations[:_SHOWN_DRAWS])
    kl, error, forward, reverse = np.array(numbers).T
    return Way(kl, error, forward, reverse, np.array(draws), seconds)


def _rows(ways: Mapping[str, Way]) -> list[Row]:
    rows = []
    for name, way in ways.items():
        kl = zip(TEMPERATURES, way.kl, way.kl_stderr, strict=True)
        rows += [
            Row(f"KL(p||q) at T = {t:.3g}, {name}", Estimate(float(value), float(error)))
            for t, value, error in kl
        ]
        worst = {"forward": way.forward, "reverse": way.reverse}
        rows += [
            Row(f"lowest {what} ESS, {name}", Estimate(float(ess.min()), 0.0))
            for what, ess in worst.items()
        ]
        rows.append(Row(f"CPU seconds, {name}", Estimate(way.seconds, 0.0)))
    return rows


def _variables(ways: Mapping[str, Way]) -> dict[str, Variable]:
    at = ("way", "temperature_point")
    theory = SixGaussians()
    exact = [theory.exact(theory.from_values(beta=1 / t)) for t in SHOWN]
    draws = [
        answers.sample(np.random.default_rng(i), _SHOWN_DRAWS)
        for i, answers in enumerate(exact)
        if answers is not None
    ]
    table = {
        "kl_forward": "KL(p||q)",
        "kl_forward_stderr": "standard error of KL(p||q)",
        "ess_forward": "effective sample size over exact samples",
        "ess_reverse": "effective sample size over draws of the flow",
    }
    columns = zip(table.items(), zip(*(way[:4] for way in ways.values()), strict=True), strict=True)
    shown = ("shown_temperature", "draw", "component")
    return {
        "way": Variable(("way",), np.array(list(ways)), "way from T = 1 to other temperatures"),
        "temperature": Variable(("temperature_point",), np.array(TEMPERATURES), "T = 1/beta"),
        "shown": Variable(("shown_temperature",), np.array(SHOWN), "T of the draws"),
        **{name: Variable(at, np.array(values), what) for (name, what), values in columns},
        "draws": Variable(
            ("way", *shown),
            np.array([way.draws for way in ways.values()]),
            "draws of the flow, without weights",
        ),
        "exact_draws": Variable(shown, np.array(draws), "exact draws"),
        "cpu_seconds": Variable(
            ("way",), np.array([way.seconds for way in ways.values()]), "CPU seconds of training"
        ),
    }


def draw(dataset: Dataset) -> "Figure":
    """Draws of TRADE above exact ones, and KL(p‖q) of every way against T."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.2), layout="constrained")
        halves: Any = figure.subfigures(2, 1, height_ratios=(3.4, 2.6))
        above, below = halves
        axes = above.subplots(2, len(SHOWN), sharex=True, sharey=True)
        taught = list(dataset["way"]).index("TRADE")
        for row, (title, draws) in zip(
            axes,
            {"TRADE": dataset["draws"][taught], "exact": dataset["exact_draws"]}.items(),
            strict=True,
        ):
            for ax, temperature, points in zip(row, dataset["shown"], draws, strict=True):
                ax.scatter(*points.T, s=1, color=COLOURS[0], alpha=0.4, linewidths=0)
                ax.set(xlim=(-9, 9), ylim=(-9, 9), aspect="equal")
                if title == "TRADE":
                    ax.set_title(f"$T$ = {temperature:.3g}", fontsize=10)
            row[0].set_ylabel(title)
        ax = below.subplots()
        for i, name in enumerate(dataset["way"]):
            style = {"color": COLOURS[i], "marker": ".", "linewidth": 1.2}
            text = f"{name} ({dataset['cpu_seconds'][i]:.0f} CPU s)"
            ax.errorbar(
                dataset["temperature"],
                dataset["kl_forward"][i],
                dataset["kl_forward_stderr"][i],
                label=text,
                **style,
            )
        ax.set(xlabel="$T$", ylabel=r"KL$(p\|q)$", xscale="log", yscale="log")
        below.legend(loc="outside right center")
    return figure


EXPERIMENT = Experiment(
    name="temperature",
    title="six Gaussians in the plane over temperature: TRADE from samples at T = 1",
    references="Wahl et al., arXiv:2410.19492",
    run=run,
    draw=draw,
    trains=True,
)
