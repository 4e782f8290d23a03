"""φ⁴ theory on 8×8 in the hopping form, over the transition: Wahl et al., arXiv:2410.19492.

λ = 0.02, κ from 0.22 to 0.32, across the peak of χ, in two ways: one flow for the whole range by
the deformation loss, with no boundary of samples; and TRADE, which carries a flow that was trained
from κ = 0.25 to 0.29, the paper's boundary, out to both ends by the couplings' derivative alone.
Both are drawn from at 200 κ, beside Hamiltonian Monte Carlo at the same couplings and the exact
answers (exact_curves.py): |M|, the action a site, χ_|M|, the Binder cumulant, log Z, the ESS, and
the negative log-likelihood

    NLL = -⟨log q⟩_p = S + log w,      w = e^{-S}/q,

of the flow over draws of HMC, whose excess over the entropy of p is KL(p‖q). The paper gives its
numbers as curves alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from lattice_flows.figures.style import COLOURS, STYLE, label
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.papers.drawn import of_chains, of_flow, parts_of
from lattice_flows.papers.exact_curves import Curve, exact_curves
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.runs import trained
from lattice_flows.runs.config import Config
from lattice_flows.sampling.sampler import Sampler
from observables import Estimate, Measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANGE, BOUNDARY, LAMBDA, SHAPE = (0.22, 0.32), (0.25, 0.29), 0.02, (8, 8)
WAYS = ("deformation", "TRADE")
OBSERVABLES = ("abs_magnetization", "action_density", "susceptibility_abs", "binder_cumulant")
_JUDGED = (*OBSERVABLES, "log_z")
_LOW = 0.25  # below it TRADE is outside of what its flow was trained on
_POINTS = 200
_STEPS = {
    "quick": {"deformation": 2000, "boundary": 1000, "TRADE": 1500},
    "paper": {"deformation": 20_000, "boundary": 10_000, "TRADE": 15_000},
}
_DRAWS = {"quick": 1024, "paper": 16_384}
_CHAINS, _PER_CHAIN = 64, 64


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Flows and chains at every κ, and how far they are apart in standard errors."""
    flows = _trainings(settings)
    theory = flows[0].theory
    kappas = np.linspace(*RANGE, _POINTS)
    grid = [theory.from_values(kappa=float(k), lam=LAMBDA) for k in kappas]
    chain_key, *keys = jax.random.split(jax.random.key(settings.seed), 1 + len(WAYS))
    draws, chains = _DRAWS[settings.preset], (_CHAINS, _PER_CHAIN)
    parts = parts_of(settings, flows, theory.shape, kappas.tolist(), draws, chains)
    found = [
        of_flow(settings, way, sampler, grid, key, draws, parts.within(way))
        for way, sampler, key in zip(WAYS, flows, keys, strict=True)
    ]
    drawn = of_chains(settings, flows, grid, chain_key, chains, parts)
    reference = [one.measurement for one in drawn]
    likelihood = list(zip(*[one.likelihood for one in drawn], strict=True))
    exact = exact_curves(
        settings, "trade-exact", theory, ("kappa", kappas), {"lam": LAMBDA}, _JUDGED
    )
    rows = [Row("largest R hat of the chains", Estimate(max(one.r_hat for one in drawn), 0.0))]
    for way, ours in zip(WAYS, found, strict=True):
        rows += _rows(way, ours, reference, kappas)
        rows += _distances(way, _answers(ours), exact, kappas)
    hmc = {name: [m.observables[name] for m in reference] for name in OBSERVABLES}
    rows += _distances("HMC", hmc, exact, kappas)
    log_z = [[m.log_z for m in ms] for ms in found]
    variables = {
        "way": Variable(("way",), np.array(WAYS), "way to train"),
        "kappa": Variable(("coupling_point",), kappas, "hopping parameter"),
        "ess": Variable(
            ("way", "coupling_point"),
            np.array([[m.ess for m in ms] for ms in found]),
            "effective sample size (Kish) / draws",
        ),
        **_columns("nll", likelihood, "negative log-likelihood of draws of the chains"),
        **_columns("log_z", log_z, "log Z of the flow"),
    }
    for name in OBSERVABLES:
        ours = [[m.observables[name] for m in ms] for ms in found]
        theirs = [m.observables[name] for m in reference]
        variables |= _columns(name, ours, f"{name} of the flow")
        variables |= _columns(f"{name}_hmc", [theirs], f"{name} of the chains")
    at = ("coupling_point",)
    for name, curve in exact.items():
        variables[f"{name}_exact"] = Variable(at, curve.value, f"exact {name}")
        variables[f"{name}_exact_accuracy"] = Variable(at, curve.error, f"error of exact {name}")
    return rows, variables


def _trainings(settings: Settings) -> list[Sampler]:
    """The flow over all of the range, and the one that TRADE makes of a flow over the boundary."""
    steps, seed = _STEPS[settings.preset], settings.seed

    def config(kappa: tuple[float, float], way: str, **more: Any) -> Config:
        couplings = {"kappa": kappa, "lam": LAMBDA}
        return Config("phi4-hopping", SHAPE, couplings, steps=steps[way], seed=seed, **more)

    boundary = config(BOUNDARY, "boundary", batch=512, points="stretched")
    taught = config(
        RANGE,
        "TRADE",
        objective="trade",
        learning_rate=0.002,
        ode_steps=32,
        source=asdict(boundary),
    )
    run = f"{settings.preset}-{seed}"
    over_all = trained(settings, f"trade-{run}", config(RANGE, "deformation", batch=512))
    trained(settings, f"trade-boundary-{run}", boundary)
    return [over_all, trained(settings, f"trade-taught-{run}", taught, f"trade-boundary-{run}")]


def _rows(
    way: str, ours: Sequence[Measurement], theirs: Sequence[Measurement], kappas: NDArray[Any]
) -> list[Row]:
    ess = np.array([m.ess for m in ours])
    lowest = int(np.argmin(ess))
    numbers = {
        f"lowest ESS (at kappa = {kappas[lowest]:.4f}), {way}": ess[lowest],
        f"mean ESS, {way}": ess.mean(),
    }
    for name in OBSERVABLES:
        pulls = np.array(
            [
                _pull(a.observables[name], b.observables[name])
                for a, b in zip(ours, theirs, strict=True)
            ]
        )
        where = f"distance from HMC in sigma, {name}, {way}"
        numbers[f"largest {where}"] = np.abs(pulls).max()
        numbers[f"spread of {where}"] = np.sqrt(np.mean(pulls**2))
    return [Row(what, Estimate(float(x), 0.0)) for what, x in numbers.items()]


def _answers(measurements: Sequence[Measurement]) -> dict[str, list[Estimate]]:
    found = {name: [m.observables[name] for m in measurements] for name in OBSERVABLES}
    return {**found, "log_z": [m.log_z for m in measurements if m.log_z is not None]}


def _distances(
    way: str,
    ours: dict[str, list[Estimate]],
    exact: dict[str, Curve],
    kappas: NDArray[Any],
) -> list[Row]:
    """How far estimates are from the exact answers, in standard deviations.

    By the intervals: of few draws M⁴ is skewed, and where it comes out small, so does its error.
    The draws at all κ share their random numbers, so that neighbours are off together.
    """
    found = []
    for name, estimates in ours.items():
        answers = zip(exact[name].value, exact[name].error, strict=True)
        pulls = np.array(
            [e.deviations(Estimate(*at)) for e, at in zip(estimates, answers, strict=True)]
        )
        where = f"distance from exact in sigma, {name}, {way}"
        found += [
            (f"largest {where}", np.nanmax(np.abs(pulls))),
            (f"spread of {where}", np.sqrt(np.nanmean(pulls**2))),
            (f"mean {where}, kappa < {_LOW}", np.nanmean(pulls[kappas < _LOW])),
        ]
    return [Row(what, Estimate(float(x), 0.0)) for what, x in found]


def _pull(ours: Estimate, theirs: Estimate) -> float:
    return (ours.value - theirs.value) / float(np.hypot(ours.stderr, theirs.stderr))


def _columns(name: str, rows: Sequence[Sequence[Any]], title: str) -> dict[str, Variable]:
    """Estimates (way, κ), or of a single row (κ,), as two variables."""
    values, errors = (
        np.array([[getattr(e, part) for e in row] for row in rows]) for part in ("value", "stderr")
    )
    at = ("way", "coupling_point")
    if len(rows) == 1:
        at, values, errors = at[1:], values[0], errors[0]
    return {
        name: Variable(at, values, title),
        f"{name}_stderr": Variable(at, errors, f"standard error of {title}"),
    }


def draw(dataset: Dataset) -> Figure:
    """Observables, ESS and likelihood against κ: flows, chains and what is exact."""
    import matplotlib
    from matplotlib.figure import Figure

    kappa = dataset["kappa"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.4), layout="constrained")
        axes = list(figure.subplots(2, 3, sharex=True).T.flat)  # column by column
        for ax, name in zip(axes[:4], OBSERVABLES, strict=True):
            theirs, error = dataset[f"{name}_hmc"], dataset[f"{name}_hmc_stderr"]
            band = {"color": "0.8", "linewidth": 0, "label": "HMC, three standard errors"}
            ax.fill_between(kappa, theirs - 3 * error, theirs + 3 * error, **band)
            for i, way in enumerate(dataset["way"]):
                points = {"fmt": ".", "markersize": 3, "linewidth": 0.6, "color": COLOURS[i]}
                errors = dataset[f"{name}_stderr"][i]
                ax.errorbar(kappa, dataset[name][i], errors, label=f"{way}, reweighted", **points)
            if f"{name}_exact" in dataset:
                ax.plot(kappa, dataset[f"{name}_exact"], color="k", linewidth=0.8, label="exact")
            ax.set_ylabel(label(name))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        for ax, name, text in zip(axes[4:], ("ess", "nll"), ("ESS$/n$", "NLL"), strict=True):
            for i, values in enumerate(dataset[name]):
                ax.plot(kappa, values, ".", markersize=3, color=COLOURS[i])
            ax.set_ylabel(text)
        for ax in figure.axes[3:]:
            ax.set_xlabel(r"$\kappa$")
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


EXPERIMENT = Experiment(
    name="trade",
    title="phi4 theory on 8 x 8 in the hopping form over a range of kappa, flows and HMC",
    references="Wahl et al., arXiv:2410.19492",
    run=run,
    draw=draw,
    trains=True,
)
