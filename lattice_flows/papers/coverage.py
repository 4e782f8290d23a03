"""Coverage of the error bars: how often the intervals hold what is known exactly.

Every command that gives an error is repeated on fresh draws, and its intervals are compared with
the exact answers of the transfer matrix. One flow at m = 0.5 gives draws that are cut into
replicas, one that knows a range of m is combined over four couplings; HMC runs as 16 chains or as
one long chain a replica; correlators are of exact draws. 400 replicas tell a coverage of 68 % to
2.3 %, one of 95 % to 1 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from lattice_flows.ensembles.combine import pool
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.figures.style import COLOURS, STYLE
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.mcmc.hmc import hmc
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.runs import trained
from lattice_flows.runs.config import Config
from observables import Estimate, exact_derivatives
from theories import Phi4, TransferMatrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SITES, M = 16, 0.5
GRID = (0.45, 0.5, 0.55, 0.6)
REPLICAS = {"quick": 100, "paper": 400}
DRAWS = 1024
_STEPS = {"quick": 2000, "paper": 4000}
_COLUMNS = ("interval_68", "interval_95", "plain_68", "plain_95", "pull_mean", "pull_width")

Found = Mapping[str, tuple[Estimate, float]]
"""Estimates of one replica by name, with the exact answers."""


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Draw the replicas of every command and judge their intervals."""
    replicas = REPLICAS[settings.preset]
    commands = {
        "measure, a flow": _flow(settings, replicas),
        "hmc, 16 chains": _chains(settings, replicas, 16, 64, 5),
        "hmc, one chain": _chains(settings, replicas, 1, 1024, 1),
        "scan --combine": _combined(settings, replicas),
        "correlator": _correlators(settings, replicas),
    }
    names, table = [], []
    for command, found in commands.items():
        for name, numbers in judge(found).items():
            names.append(f"{command}: {name}")
            table.append(numbers)
    columns = np.array(table)
    rows = [
        Row(f"{column}, {name}", Estimate(float(x), _uncertainty(column, float(x), replicas)))
        for name, numbers in zip(names, columns, strict=True)
        for column, x in zip(_COLUMNS, numbers, strict=True)
    ]
    variables = {"estimate": Variable(("estimate",), np.array(names), "command and observable")}
    for column, numbers in zip(_COLUMNS, columns.T, strict=True):
        variables[column] = Variable(("estimate",), numbers, f"{column.replace('_', ' ')} per cent")
    return rows, variables


def judge(found: Iterable[Found]) -> dict[str, tuple[float, ...]]:
    """By name the shares of replicas within the intervals and within value ± stderr and ± 2 stderr,
    and mean and width of the pulls; without what has no error."""
    seen: dict[str, list[tuple[float, ...]]] = {}
    for replica in found:
        for name, (estimate, exact) in replica.items():
            if not estimate.intervals:
                continue
            inside = [low < exact < high for low, high in estimate.intervals.values()]
            pull = (estimate.value - exact) / estimate.stderr
            seen.setdefault(name, []).append((*inside, abs(pull) < 1, abs(pull) < 2, pull))
    judged = {}
    for name, many in seen.items():
        numbers = np.array(many, dtype=float)
        judged[name] = (*numbers.mean(axis=0), float(numbers[:, -1].std()))
    return judged


def _uncertainty(column: str, value: float, replicas: int) -> float:
    """The standard error of a number of the table."""
    if column.startswith("pull"):
        return value / np.sqrt(2 * replicas) if column == "pull_width" else 1 / np.sqrt(replicas)
    return float(np.sqrt(value * (1 - value) / replicas))


def _measured(ensemble: Any, slopes: bool = True) -> Found:
    """Observables, log Z and derivatives with respect to m."""
    theory, couplings = ensemble.theory, ensemble.couplings
    answers = dict(_exact(theory, float(couplings.m)).observables())
    measured = ensemble.measure()
    found = dict(measured.observables)
    if measured.log_z is not None:
        found["log_z"] = measured.log_z
    if slopes:
        found |= ensemble.derivatives(["m"])
        answers |= _slopes(theory, float(couplings.m))
    return {name: (estimate, float(answers[name])) for name, estimate in found.items()}


_KNOWN: dict[tuple[str, float], Any] = {}


def _exact(theory: Phi4, m: float) -> TransferMatrix:
    key = ("exact", m)
    if key not in _KNOWN:
        _KNOWN[key] = TransferMatrix(theory, theory.from_values(m=m))
    return _KNOWN[key]


def _slopes(theory: Phi4, m: float) -> Mapping[str, float]:
    key = ("slopes", m)
    if key not in _KNOWN:
        _KNOWN[key] = exact_derivatives(theory, theory.from_values(m=m), ["m"]) or {}
    return _KNOWN[key]


def _cut(ensemble: Ensemble, replicas: int) -> Iterator[Ensemble]:
    """An ensemble of independent draws in parts of one length."""
    size = len(ensemble) // replicas
    for i in range(replicas):
        part = slice(i * size, (i + 1) * size)
        log_weights: NDArray | None = ensemble.log_weights
        yield replace(
            ensemble,
            configurations=ensemble.configurations[part],
            log_weights=None if log_weights is None else log_weights[part],
        )


def _flow(settings: Settings, replicas: int) -> Iterator[Found]:
    steps = _STEPS[settings.preset]
    sampler = trained(
        settings,
        f"coverage-{settings.preset}",
        Config("phi4", (SITES,), {"m": M, "alpha": 0.01}, steps=steps, seed=settings.seed),
    )
    couplings = sampler.theory.from_values(m=M, alpha=0.01)
    key = jax.random.fold_in(jax.random.key(settings.seed), 1)
    return map(_measured, _cut(sampler.draw(couplings, key, replicas * DRAWS), replicas))


def _combined(settings: Settings, replicas: int) -> Iterator[Found]:
    steps = _STEPS[settings.preset]
    sampler = trained(
        settings,
        f"coverage-range-{settings.preset}",
        Config(
            "phi4", (SITES,), {"m": (0.4, 0.65), "alpha": 0.01}, steps=steps, seed=settings.seed
        ),
    )
    key = jax.random.fold_in(jax.random.key(settings.seed), 2)
    points = [sampler.theory.from_values(m=m, alpha=0.01) for m in GRID]
    ensembles = sampler.draw_grid(points, key, replicas * DRAWS // 4)
    for parts in zip(*(list(_cut(e, replicas)) for e in ensembles), strict=True):
        yield _measured(pool(parts).at(parts[1].couplings))


def _chains(
    settings: Settings, replicas: int, chains: int, draws: int, every: int
) -> Iterator[Found]:
    """Replicas of so many chains, all of them run side by side."""
    theory = Phi4((SITES,))
    key = jax.random.fold_in(jax.random.key(settings.seed), 3 + chains)
    couplings = theory.from_values(m=M, alpha=0.01)
    ensemble = hmc(theory, couplings, key, chains * replicas, draws, every=every)
    for part in _cut(replace(ensemble, chains=None), replicas):
        yield _measured(replace(part, chains=chains), slopes=False)


def _correlators(settings: Settings, replicas: int) -> Iterator[Found]:
    theory, m = Phi4((SITES,)), 0.25
    exact = _exact(theory, m)
    rng = np.random.default_rng(settings.seed)
    known = exact.correlator()[: SITES // 2 + 1] - exact.magnetization**2
    for _ in range(replicas):
        found = Ensemble(theory, exact.couplings, exact.sample(rng, 2 * DRAWS)).correlator()
        of_c = {
            f"C({r})": (
                Estimate(value, error, tuple(found.interval_68[r]), tuple(found.interval_95[r])),
                float(known[r]),
            )
            for r, (value, error) in enumerate(zip(found.value, found.stderr, strict=True))
        }
        fit = {} if found.fit is None else {"gap_fit": (found.fit.gap, exact.energy_gap)}
        yield of_c | fit


def draw(dataset: Dataset) -> Figure:
    """Coverage of the intervals and of plain errors, for every command and observable."""
    import matplotlib
    from matplotlib.figure import Figure

    names = [str(name) for name in dataset["estimate"]]
    y = np.arange(len(names))[::-1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.2 + 0.16 * len(names)), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for ax, level, aim in zip(axes, (68, 95), (0.683, 0.954), strict=True):
            ax.axvline(aim, color="0.6", linewidth=0.8)
            for kind, colour in (("plain", COLOURS[1]), ("interval", COLOURS[0])):
                ax.plot(dataset[f"{kind}_{level}"], y, "o", color=colour, ms=3.5, label=kind)
            ax.set(xlabel=f"coverage at {level} %")
            ax.set_yticks(y, names, fontsize=6)
        ax.legend()
    return figure


EXPERIMENT = Experiment(
    name="coverage",
    title="Coverage of the intervals of every command",
    references="",
    run=run,
    draw=draw,
    trains=True,
)
