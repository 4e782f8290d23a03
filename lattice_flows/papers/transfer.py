"""From one coupling to others, four ways: reweighting, TRADE, transport, and a flow for them all.

φ⁴ theory on the cycle graph of 16 sites. A flow is trained at m = 0.25 alone, on points that reach
out to where draws at larger m are (points/annealed.py, "stretched"). It is then reweighted as it
is; carried on by the TRADE residual alone (objectives/trade.py); carried on by transport
(objectives/transport.py). The fourth is a flow of its own that is trained over the range
("amortised"), conditioned on m. Judged at couplings all over the range by the ESS

    reverse  (Σw)²/(n Σw²) over draws,      forward  1/⟨p/q⟩_p over exact samples.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from lattice_flows.figures.style import COLOURS, STYLE
from lattice_flows.flows.params import Params
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.runs import train_afresh
from lattice_flows.runs.config import Config
from lattice_flows.sampling.evaluation import forward_ess
from lattice_flows.sampling.sampler import Sampler
from observables import Estimate, kish_ess
from theories import Phi4, TransferMatrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_RANGE, _POINTS, _SITES, _WIDTH = (0.25, 1.0), 16, 16, 48
_DRAWS, _SAMPLES = 8192, 8192
_NAMED = (0.5, 1.0)  # couplings with rows of their own
STEPS = {
    "quick": {"boundary": 6000, "TRADE": 3000, "transport": 1000, "amortised": 4000},
    "paper": {"boundary": 20_000, "TRADE": 20_000, "transport": 20_000, "amortised": 20_000},
}


class Way(NamedTuple):
    """Reverse and forward ESS at every point, and CPU seconds, those of the boundary included."""

    reverse: Array
    forward: Array
    seconds: float


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Train in every way and look all over the range."""
    ms = np.linspace(*_RANGE, _POINTS)
    theory = Phi4((_SITES,))
    grid = [theory.from_values(m=float(m)) for m in ms]
    rng = np.random.default_rng(settings.seed)
    samples = [TransferMatrix(theory, couplings).sample(rng, _SAMPLES) for couplings in grid]
    judge = _Judge(grid, samples, jax.random.key(settings.seed))
    steps = STEPS[settings.preset]
    common: dict[str, Any] = {"seed": settings.seed, "width": _WIDTH}
    at_boundary = Config(
        "phi4", (_SITES,), {"m": _RANGE[0]}, points="stretched", steps=steps["boundary"], **common
    )
    boundary, spent = train_afresh(settings, at_boundary)
    ways = {"reweighting": Way(*judge.reweighted(boundary), spent)}
    known = Params(base=boundary.params, field=None, path=None, constant=None)
    on = {
        "TRADE": {"objective": "trade", "learning_rate": 0.002},
        "transport": {"objective": "transport", "batch": 512},
    }
    for name, options in on.items():
        line = Config(
            "phi4",
            (_SITES,),
            {"m": _RANGE},
            source=asdict(at_boundary),
            steps=steps[name],
            ode_steps=32,
            **common,
            **options,
        )
        carried, more = train_afresh(settings, line, known)
        ways[name] = Way(*judge.drawn(carried), spent + more)
    all_over = Config("phi4", (_SITES,), {"m": _RANGE}, steps=steps["amortised"], **common)
    amortised, alone = train_afresh(settings, all_over)
    ways["amortised"] = Way(*judge.drawn(amortised), alone)
    return _rows(ways, ms), {
        "m": Variable(("coupling_point",), ms, "coupling m"),
        "way": Variable(("way",), np.array(list(ways)), "way from m = 0.25 to others"),
        "ess_reverse": _stacked([way.reverse for way in ways.values()], "ESS over draws"),
        "ess_forward": _stacked([way.forward for way in ways.values()], "ESS over exact samples"),
        "cpu_seconds": Variable(
            ("way",), np.array([way.seconds for way in ways.values()]), "CPU seconds of training"
        ),
    }


class _Judge(NamedTuple):
    """Couplings, exact samples at each, a key."""

    grid: Sequence[Any]
    samples: Sequence[Array]
    key: jax.Array

    def drawn(self, sampler: Sampler) -> tuple[Array, Array]:
        """Reverse and forward ESS of a flow that knows the couplings."""
        ensembles = sampler.draw_grid(self.grid, self.key, _DRAWS)
        reverse = np.array([ensemble.ess for ensemble in ensembles])
        return reverse, self._forward(
            [sampler.log_weights(*of) for of in zip(self.samples, self.grid, strict=True)]
        )

    def reweighted(self, sampler: Sampler) -> tuple[Array, Array]:
        """Those of a flow at the first of the couplings, reweighted to the others."""
        start = self.grid[0]
        ensemble = sampler.draw(start, self.key, _DRAWS)
        log_weights = np.asarray(ensemble.log_weights)

        def at(phi: Array, couplings: Any) -> Array:
            target = sampler.model.path.target
            return np.asarray(jax.vmap(lambda x: target(x, start) - target(x, couplings))(phi))

        drawn = np.asarray(ensemble.configurations)
        reverse = [kish_ess(log_weights + at(drawn, c)) for c in self.grid]
        return np.array(reverse), self._forward(
            [
                sampler.log_weights(phi, start) + at(phi, couplings)
                for phi, couplings in zip(self.samples, self.grid, strict=True)
            ]
        )

    def _forward(self, log_weights: Sequence[Array]) -> Array:
        theory = Phi4((_SITES,))
        log_z = [TransferMatrix(theory, couplings).log_z for couplings in self.grid]
        pairs = zip(log_weights, log_z, strict=True)
        return np.array([forward_ess(found - exact) for found, exact in pairs])


def _rows(ways: dict[str, Way], ms: Array) -> list[Row]:
    rows = []
    for name, way in ways.items():
        worst = int(np.argmin(way.forward))
        numbers = {f"lowest forward ESS (at m = {ms[worst]:.3g})": way.forward[worst]}
        numbers["lowest reverse ESS"] = way.reverse.min()
        for m in _NAMED:
            i = int(np.argmin(np.abs(ms - m)))
            numbers[f"forward ESS at m = {m:g}"] = way.forward[i]
        numbers["CPU seconds"] = way.seconds
        rows += [Row(f"{what}, {name}", Estimate(float(x), 0.0)) for what, x in numbers.items()]
    return rows


def _stacked(values: Sequence[Array], what: str) -> Variable:
    return Variable(("way", "coupling_point"), np.array(values), what)


def draw(dataset: Dataset) -> "Figure":
    """ESS against m, of every way."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        ax = figure.subplots()
        for i, (name, spent) in enumerate(zip(dataset["way"], dataset["cpu_seconds"], strict=True)):
            line = {"color": COLOURS[i], "linewidth": 1.2}
            text = f"{name}\n({spent:.0f} CPU s)"
            ax.plot(dataset["m"], dataset["ess_forward"][i], ".-", label=text, **line)
            ax.plot(dataset["m"], dataset["ess_reverse"][i], ":", **line)
        ax.set(xlabel="$m$", ylabel="ESS$/n$, forward (dotted: reverse)", ylim=(0, 1.02))
        figure.legend(loc="outside right center")
    return figure


EXPERIMENT = Experiment(
    name="transfer",
    title="a flow at m = 0.25 carried to m = 1: phi4 theory on the cycle graph of 16 sites",
    references="TRADE: Wahl et al., arXiv:2410.19492",
    run=run,
    draw=draw,
    trains=True,
)
