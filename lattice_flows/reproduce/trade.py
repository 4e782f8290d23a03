"""φ⁴ theory on 8×8 in the hopping form, over the transition: Wahl et al., arXiv:2410.19492.

λ = 0.02, κ from 0.22 to 0.32, across the peak of χ. One flow for the whole range, trained by the
deformation loss with no boundary of samples, is drawn from at 200 κ, beside Hamiltonian Monte Carlo
at the same couplings: |M|, the action a site, χ_|M|, the Binder cumulant, the ESS, and the negative
log-likelihood

    NLL = -⟨log q⟩_p = S + log w,      w = e^{-S}/q,

of the flow over draws of HMC, whose excess over the entropy of p is KL(p‖q). The paper gives its
numbers as curves alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from lattice_flows.config import Config
from lattice_flows.ensemble import Ensemble
from lattice_flows.files import Dataset, Variable
from lattice_flows.plot_style import COLOURS, STYLE, label
from lattice_flows.reference import hmc_grid
from lattice_flows.reproduce.experiment import Experiment, Row, Settings
from lattice_flows.reproduce.runs import trained
from lattice_flows.sampler import Sampler
from observables import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANGE, LAMBDA, SHAPE = (0.22, 0.32), 0.02, (8, 8)
OBSERVABLES = ("abs_magnetization", "action_density", "susceptibility_abs", "binder_cumulant")
_POINTS, _LIKELIHOOD = 200, 256
_STEPS = {"quick": 2000, "paper": 20_000}
_DRAWS = {"quick": 1024, "paper": 16_384}
_CHAINS, _PER_CHAIN = 64, 64


def config(settings: Settings, seed: int) -> Config:
    """The flow over all of the range."""
    couplings = {"kappa": RANGE, "lam": LAMBDA}
    steps = _STEPS[settings.preset]
    return Config("phi4-hopping", SHAPE, couplings, steps=steps, batch=512, seed=seed)


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Flow and chains at every κ, and how far they are apart in standard errors."""
    sampler = trained(
        settings, f"trade-{settings.preset}-{settings.seed}", config(settings, settings.seed)
    )
    kappas = np.linspace(*RANGE, _POINTS)
    grid = [sampler.theory.from_values(kappa=float(k), lam=LAMBDA) for k in kappas]
    keys = jax.random.split(jax.random.key(settings.seed), 2)
    chains = hmc_grid(sampler.theory, grid, keys[0], chains=_CHAINS, draws=_PER_CHAIN)
    flows = []
    draws = sampler.draw_grid(grid, keys[1], _DRAWS[settings.preset])
    with settings.progress("draw", _POINTS) as report:
        for i, ensemble in enumerate(draws):
            flows.append(ensemble.measure())
            report(i + 1, {"ess": flows[-1].ess})
    likelihood = [_likelihood(sampler, ensemble) for ensemble in chains]
    reference = [ensemble.measure() for ensemble in chains]
    ess = np.array([m.ess for m in flows])
    lowest = int(np.argmin(ess))
    rows = [
        Row(f"lowest ESS (at kappa = {kappas[lowest]:.4f})", Estimate(float(ess[lowest]), 0.0)),
        Row("mean ESS", Estimate(float(ess.mean()), 0.0)),
        Row("largest R hat of the chains", Estimate(max(_r_hat(m) for m in reference), 0.0)),
    ]
    variables = {
        "kappa": Variable(("coupling_point",), kappas, "hopping parameter"),
        "ess": Variable(("coupling_point",), ess, "effective sample size (Kish) / draws"),
        **_columns("nll", likelihood, "negative log-likelihood of draws of the chains"),
        **_columns("log_z", [m.log_z for m in flows], "log Z of the flow"),
    }
    for name in OBSERVABLES:
        ours, theirs = ([m.observables[name] for m in each] for each in (flows, reference))
        pulls = np.array([_pull(a, b) for a, b in zip(ours, theirs, strict=True)])
        numbers = {"largest": np.abs(pulls).max(), "spread of": np.sqrt(np.mean(pulls**2))}
        rows += [
            Row(f"{what} distance from HMC in sigma, {name}", Estimate(float(x), 0.0))
            for what, x in numbers.items()
        ]
        variables |= _columns(name, ours, f"{name} of the flow")
        variables |= _columns(f"{name}_hmc", theirs, f"{name} of the chains")
    return rows, variables


def _likelihood(sampler: Sampler, ensemble: Ensemble) -> Estimate:
    """NLL over some draws of a chain, spread over all of it."""
    few = ensemble.configurations[:: max(1, len(ensemble) // _LIKELIHOOD)]
    log_weights = sampler.log_weights(few, ensemble.couplings)
    action: Callable[[Any], Any] = jax.vmap(lambda x: sampler.theory.action(x, ensemble.couplings))
    values = np.asarray(action(few)) + log_weights
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def _r_hat(measurement: Any) -> float:
    return float(measurement.mixing.r_hat)


def _pull(ours: Estimate, theirs: Estimate) -> float:
    return (ours.value - theirs.value) / float(np.hypot(ours.stderr, theirs.stderr))


def _columns(name: str, estimates: Sequence[Any], title: str) -> dict[str, Variable]:
    at = ("coupling_point",)
    value: NDArray[np.float64] = np.array([e.value for e in estimates])
    error = np.array([e.stderr for e in estimates])
    return {
        name: Variable(at, value, title),
        f"{name}_stderr": Variable(at, error, f"standard error of {title}"),
    }


def draw(dataset: Dataset) -> Figure:
    """Observables, ESS and likelihood against κ, flow and chains."""
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
            points = {"fmt": ".", "markersize": 3, "linewidth": 0.6, "color": COLOURS[0]}
            errors = dataset[f"{name}_stderr"]
            ax.errorbar(kappa, dataset[name], errors, label="flow, reweighted", **points)
            ax.set_ylabel(label(name))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        for ax, name, text in zip(axes[4:], ("ess", "nll"), ("ESS$/n$", "NLL"), strict=True):
            ax.plot(kappa, dataset[name], ".", markersize=3, color=COLOURS[0])
            ax.set_ylabel(text)
        for ax in figure.axes[3:]:
            ax.set_xlabel(r"$\kappa$")
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


EXPERIMENT = Experiment(
    name="trade",
    title="phi4 theory on 8 x 8 in the hopping form over a range of kappa, flow and HMC",
    references="Wahl et al., arXiv:2410.19492",
    run=run,
    draw=draw,
    trains=True,
)
