"""What each ingredient of a flow buys, at the same number of steps.

φ⁴ theory on the cycle graph of 16 sites at m = 1, where two deep wells of different weight (.85 and
.15) are far from the base of Máté & Fleuret (arXiv:2301.07388), independent sites e^{-(φ/2)⁴}. The
table begins with their oblivious field on its own trajectories along the linear path, and changes
one thing at a time. The flow is judged on exact samples every few steps:

    KL = KL(q‖p),      forward ESS = 1/⟨p/q⟩_p,      coverage = ⟨q/p⟩_p²/⟨(q/p)²⟩_p,

q the density that is drawn from. An odd flow without orbit resampling has both wells alike.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lattice_flows.figures.style import COLOURS, STYLE
from lattice_flows.flows.model import Model
from lattice_flows.flows.params import Params
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.runs import over_seeds
from lattice_flows.runs.config import Config
from lattice_flows.sampling.evaluation import forward_ess
from lattice_flows.training.trainer import Trainer, trainer_for
from observables import Estimate, kish_ess
from theories import Phi4, TransferMatrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COUPLINGS = {"m": 1.0, "alpha": 0.01}
_RANGE = {"m": (0.25, 1.0), "alpha": 0.01}
_STEPS, _BETWEEN = {"quick": 1000, "paper": 10_000}, 100  # and between two looks
_SAMPLES, _ENOUGH = 4096, 0.9


class Variant(NamedTuple):
    """Options of a training; `orbit` says whether draws are resampled (of an odd flow)."""

    options: Mapping[str, Any]
    couplings: Mapping[str, Any] = _COUPLINGS
    orbit: bool = True


_OWN = {"base": "ultralocal", "points": "trajectories"}
VARIANTS = {
    "oblivious": Variant({**_OWN, "field": "mlp", "width": 64}),
    "+ translations": Variant({**_OWN, "field": "translation"}),
    "+ Z2": Variant(_OWN, orbit=False),
    "+ orbit resampling": Variant(_OWN),
    "  with a learned path": Variant({**_OWN, "interpolation": "learned"}),
    "  with a curriculum in m": Variant({**_OWN, "curriculum": 0.6}, _RANGE),
    "+ annealed walkers": Variant({"base": "ultralocal"}),
    "+ mean-field base": Variant({}),
}
"""Each differs by its name from the one before, the indented ones from "+ orbit resampling"."""
METRICS = ("KL(q||p)", "forward ESS", "coverage", "CPU seconds", "CPU seconds to ESS .9")


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Train every variant and look at it on the way."""
    theory = Phi4((16,))
    exact = TransferMatrix(theory, theory.from_values(**_COUPLINGS))
    samples = exact.sample(np.random.default_rng(settings.seed), _SAMPLES)
    steps = _STEPS[settings.preset]
    seeds = range(settings.seed, settings.seed + settings.seeds)
    rows, curves = [], []
    for name, variant in VARIANTS.items():
        config = Config("phi4", (16,), variant.couplings, steps=steps, **variant.options)
        judge = _judge(trainer_for(config).model, variant.orbit, samples, exact.log_z)
        with settings.progress(name.strip("+ "), steps * settings.seeds) as report:
            looks = []
            for i, seed in enumerate(seeds):
                before = i * steps

                def show(step: int, look: Mapping[str, float], before: int = before) -> None:
                    report(before + step, look)

                looks.append(_follow(replace(config, seed=seed), judge, settings, show))
        curves.append(looks)
        final = np.array([_final(np.array(look)) for look in looks])
        rows += [
            Row(f"{what}, {name.strip()}", over_seeds([Estimate(x, 0.0) for x in column]))
            for what, column in zip(METRICS, final.T, strict=True)
            if np.isfinite(column).all()
        ]
    table = np.array(curves)  # (variants, seeds, looks, [cpu, KL, ESS, coverage])
    names = ("cpu_seconds", "kl_reverse", "ess_forward", "coverage")
    what = ("CPU seconds of training, compilation apart", "KL(q||p)", "forward ESS", "coverage")
    return rows, {
        "variant": Variable(("variant",), np.array([n.strip() for n in VARIANTS]), "ingredient"),
        "step": Variable(("look",), _BETWEEN * np.arange(1, table.shape[2] + 1), "training step"),
        **{
            name: Variable(("variant", "seed", "look"), table[..., k], text)
            for k, (name, text) in enumerate(zip(names, what, strict=True))
        },
    }


def _follow(
    config: Config,
    judge: Callable[[Params, jax.Array], list[float]],
    settings: Settings,
    report: Callable[[int, Mapping[str, float]], None],
) -> list[list[float]]:
    """CPU seconds, KL, forward ESS and coverage at every look. Raises Interrupted."""
    trainer, key = trainer_for(config), jax.random.key(config.seed)
    with _single_precision():
        state = trainer.init(key)
        _compile(trainer, state)
    spent, looks = 0.0, []
    for step in range(_BETWEEN, config.steps + 1, _BETWEEN):
        if settings.interrupted():
            raise Interrupted("the comparison is interrupted: give the same command again")
        begin = time.process_time()
        with _single_precision():
            state, _ = jax.block_until_ready(trainer.advance(state, steps=_BETWEEN))
        spent += time.process_time() - begin
        looks.append([spent, *judge(state.params, jax.random.fold_in(key, step))])
        report(step, {"ess": looks[-1][2]})
    return looks


def _compile(trainer: Trainer, state: Any) -> None:
    jax.block_until_ready(trainer.advance(state, steps=_BETWEEN))


def _single_precision() -> Any:
    """As `train` trains: the rest of an experiment is in double precision."""
    return jax.enable_x64(False)


def _judge(
    model: Model, orbit: bool, samples: np.ndarray, log_z: float
) -> Callable[[Params, jax.Array], list[float]]:
    """KL, forward ESS and coverage of the flow with given parameters."""
    theory = model.flow.base.theory
    couplings = theory.from_values(**{k: jnp.float64(v) for k, v in _COUPLINGS.items()})
    target = model.path.target if orbit else theory.action

    @jax.jit
    def log_ratios(params: Params, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """log p/q over draws and over samples."""
        phi, log_q = model.flow.sample(params, key, couplings, _SAMPLES)
        there = model.flow.log_prob(params, jnp.asarray(samples), couplings)
        energy = jax.vmap(lambda x: target(x, couplings))
        return -energy(phi) - log_q - log_z, -energy(jnp.asarray(samples)) - there - log_z

    def judge(params: Params, key: jax.Array) -> list[float]:
        drawn, sampled = (np.asarray(x) for x in log_ratios(params, key))
        return [float(-np.mean(drawn)), forward_ess(sampled), kish_ess(-sampled)]

    return judge


def _final(looks: np.ndarray) -> list[float]:
    """KL, ESS, coverage and CPU seconds at the end, and CPU seconds to the ESS that is enough."""
    enough = looks[:, 2] >= _ENOUGH
    until = looks[np.argmax(enough), 0] if enough.any() else np.nan
    return [*looks[-1, 1:], looks[-1, 0], until]


def draw(dataset: Dataset) -> "Figure":
    """KL against the time of training, the first seed's."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        ax = figure.subplots()
        for i, name in enumerate(dataset["variant"]):
            ax.plot(
                dataset["cpu_seconds"][i, 0],
                dataset["kl_reverse"][i, 0],
                label=name,
                color=COLOURS[i % len(COLOURS)],
                linestyle="-" if i < len(COLOURS) else "--",
                linewidth=1.2,
            )
        ax.set(xlabel="CPU seconds of training", ylabel=r"KL$(q\Vert p)$", yscale="log")
        figure.legend(loc="outside right center")
    return figure


EXPERIMENT = Experiment(
    name="ingredients",
    title="what each ingredient buys: phi4 theory on the cycle graph of 16 sites, m = 1",
    references="Mate & Fleuret, arXiv:2301.07388, for where it begins",
    run=run,
    draw=draw,
    trains=True,
)
