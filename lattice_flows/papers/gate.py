"""What the checks of a measurement see, and what they let pass: flows of known faults.

For every kind of flow (gate_kinds.py) many ensembles of 4096 draws. Of those that the weights alone
let pass: how many the move-invariance check sees, in how many moves; how many its rivals see,
a change of the largest observable alone, and of log w; how many the forward figures and the exact
answers of `evaluate` see; and how far off the worst observable is, in its own errors.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from lattice_flows.ensembles.invariance import DRAWS, MOVES, Mover
from lattice_flows.figures.style import COLOURS, STYLE
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.gate_kinds import Kind, made, trained
from lattice_flows.sampling.evaluation import forward_ess
from lattice_flows.sampling.verdict import failed_forward, failed_log_z, largest_pull
from observables import Estimate, measure, quantities
from observables.invariance import FALSE_ALARM, paired_change, resample
from theories.transfer_matrix import TransferMatrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

N = 4096
AFTER = (1, 2, 4, 8)  # moves
# ensembles of draws made from exact ones, and of trained flows
REPLICAS = {"quick": (20, 20), "paper": (400, 60)}
_RIVALS = ("largest change", "change of log w")


class Found(NamedTuple):
    """Of one kind: the share that passes the weights' gate, and of the ensembles that do (rows):
    seen after each of AFTER moves; seen by the rivals after MOVES; seen by `evaluate`; the largest
    pull of an observable."""

    passed: Estimate
    seen: NDArray[np.bool_]
    rivals: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    pull: Array
    ess_forward: float


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Look at every kind, those that need no training first."""
    found: dict[str, Found] = {}
    of_made, of_trained = REPLICAS[settings.preset]
    kinds = made()
    with settings.progress("kinds", len(kinds)) as report:
        for kind in kinds:
            found[kind.name] = _look(kind, of_made, settings)
            report(len(found), {})
    for kind in trained(settings):
        found[kind.name] = _look(kind, of_trained, settings)
    return _rows(found), _variables(found)


def _look(kind: Kind, replicas: int, settings: Settings) -> Found:
    """Draw ensembles of one kind and judge them in every way."""
    exact = TransferMatrix(kind.theory, kind.couplings)
    answers = exact.observables()
    samples = exact.sample(np.random.default_rng(settings.seed), N)
    ess_forward = forward_ess(kind.log_weights(samples) - exact.log_z)
    rng = np.random.default_rng(settings.seed)
    mover = Mover(kind.theory, kind.couplings, rng)
    seen, rivals, judged, pulls = [], [], [], []
    for replica in range(replicas):
        if settings.interrupted():
            raise Interrupted("interrupted, nothing is kept: give the same command again")
        phi, log_weights = kind.draw(N, settings.seed * replicas + replica)
        measurement = measure(kind.theory, kind.couplings, phi, log_weights, orbit=kind.orbit)
        if measurement.failed:
            continue
        known = {name: Estimate(float(answers[name]), 0.0) for name in measurement.observables}
        pull, _, threshold = largest_pull(measurement, known)
        assert measurement.log_z is not None
        failed = failed_forward(ess_forward, N) + failed_log_z(
            measurement.log_z, Estimate(exact.log_z, 0.0)
        )
        pulls.append(pull)
        judged.append(bool(failed) or pull > threshold)
        by_moves, by_rivals = _moved(kind, mover, phi, log_weights, rng)
        seen.append(by_moves)
        rivals.append(by_rivals)
    return Found(
        _share(np.arange(replicas) < len(seen)),
        np.array(seen, bool).reshape(-1, len(AFTER)),
        np.array(rivals, bool).reshape(-1, len(_RIVALS)),
        np.array(judged, bool),
        np.array(pulls),
        ess_forward,
    )


def _moved(
    kind: Kind, mover: Mover, phi: Array, log_weights: Array, rng: np.random.Generator
) -> tuple[list[bool], list[bool]]:
    """Which of the statistics speak against these draws, at the same nominal false-alarm rate."""
    parents = resample(log_weights, DRAWS, rng.random())
    phi = phi[parents]
    observables = quantities(kind.theory)
    before = observables.samples(kind.couplings, phi, kind.orbit)
    seen, rivals = [], []
    for moves in range(1, AFTER[-1] + 1):
        phi = mover.move(phi)
        if moves in AFTER:
            after = observables.samples(kind.couplings, phi, kind.orbit)
            seen.append(_beyond(before, after, parents))
        if moves == MOVES:
            after = observables.samples(kind.couplings, phi, kind.orbit)
            columns = [_pull(b, a, parents) for b, a in zip(before.T, after.T, strict=True)]
            weights = kind.log_weights(phi)
            few = norm.isf(FALSE_ALARM / 2 / len(columns))
            rivals = [
                bool(np.max(np.abs(columns)) > few),
                _pull(log_weights[parents], weights, parents) > norm.isf(FALSE_ALARM),
            ]
    return seen, rivals


def _beyond(before: Array, after: Array, parents: NDArray[np.intp]) -> bool:
    found = paired_change(before, after, parents)
    return found is not None and found[0] > found[1]


def _pull(before: Array, after: Array, parents: NDArray[np.intp]) -> float:
    """The paired change of one number over its error, 0 where nothing changes."""
    change = after - before
    copies = np.bincount(parents)
    scatter = np.bincount(parents, change) - copies * change.mean()
    error = float(np.sqrt(np.sum(scatter**2)))
    return float(change.sum()) / error if error > 1e-9 * np.abs(before).sum() ** 0.5 else 0.0


def _share(which: NDArray[np.bool_]) -> Estimate:
    """The share that is true, its binomial error with one more of each kind; NaN of none."""
    n = len(which)
    if n == 0:
        return Estimate(np.nan, np.nan)
    p = (np.sum(which) + 1) / (n + 2)
    return Estimate(float(np.mean(which)), float(np.sqrt(p * (1 - p) / (n + 3))))


def _rows(found: Mapping[str, Found]) -> list[Row]:
    chosen = AFTER.index(MOVES)
    rows = []
    for name, of in found.items():
        rows.append(Row(f"{name}: passes the weights' gate", of.passed))
        if len(of.pull):
            rows += [
                Row(f"{name}: seen by moves, of these", _share(of.seen[:, chosen])),
                Row(f"{name}: seen by evaluate, of these", _share(of.judged)),
            ]
            median = float(np.median(of.pull))
            if np.isfinite(median):  # a wrong answer without an error has no pull: P(M>0) = 1 ± 0
                rows.append(Row(f"{name}: worst pull, median", Estimate(median, 0.0)))
    return rows


def _variables(found: Mapping[str, Found]) -> dict[str, Variable]:
    def shares(columns: list[list[Estimate]] | list[Estimate]) -> tuple[Array, Array]:
        pairs = np.array(columns, dtype=float)
        return pairs[..., 0], pairs[..., 1]

    per_kind = ("kind",)
    variables = {
        "kind": Variable(per_kind, np.array(list(found)), "kind of flow"),
        "moves": Variable(("look",), np.array(AFTER), "number of moves"),
        "rival": Variable(("rival",), np.array(_RIVALS), "other statistics"),
        "ess_forward": Variable(
            per_kind, np.array([of.ess_forward for of in found.values()]), "forward ESS"
        ),
        "worst_pull": Variable(
            per_kind,
            np.array([np.median(of.pull) if len(of.pull) else np.nan for of in found.values()]),
            "largest |pull| of an observable, median of those that pass the weights' gate",
        ),
        "worst_pull_kept": Variable(
            per_kind,
            np.array([_kept(of) for of in found.values()]),
            "largest |pull| of an observable, median of those that the moves let pass, too",
        ),
    }
    tables = {
        "passes_weights": (per_kind, [of.passed for of in found.values()]),
        "seen_by_moves": (
            ("kind", "look"),
            [[_share(column) for column in of.seen.T] for of in found.values()],
        ),
        "seen_by_rivals": (
            ("kind", "rival"),
            [[_share(column) for column in of.rivals.T] for of in found.values()],
        ),
        "seen_by_evaluate": (per_kind, [_share(of.judged) for of in found.values()]),
    }
    for name, (dimensions, columns) in tables.items():
        value, error = shares(columns)
        what = f"share of ensembles, {name.replace('_', ' ')}"
        variables[name] = Variable(dimensions, value, what)
        variables[f"{name}_stderr"] = Variable(dimensions, error, f"standard error of {what}")
    return variables


def _kept(of: Found) -> float:
    kept = of.pull[~of.seen[:, AFTER.index(MOVES)]]
    return float(np.median(kept)) if len(kept) else np.nan


def draw(dataset: Dataset) -> "Figure":
    """For every kind: what passes the weights alone, and what passes each check besides."""
    import matplotlib
    from matplotlib.figure import Figure

    kinds = list(dataset["kind"])
    passed = np.asarray(dataset["passes_weights"])
    chosen = list(dataset["moves"]).index(MOVES)
    unseen = 1 - np.nan_to_num(np.asarray(dataset["seen_by_moves"])[:, chosen])
    by_evaluate = 1 - np.nan_to_num(np.asarray(dataset["seen_by_evaluate"]))
    bars = {
        "the weights' gate": passed,
        "and the move-invariance check": passed * unseen,
        "the weights' gate and evaluate": passed * by_evaluate,
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 0.36 * len(kinds) + 1.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
        places = np.arange(len(kinds))
        for i, (label, share) in enumerate(bars.items()):
            left.barh(places + 0.26 * (i - 1), share, 0.24, color=COLOURS[i], label=label)
        left.set(yticks=places, yticklabels=kinds, xlabel="share of ensembles that pass")
        left.invert_yaxis()
        right.plot(dataset["worst_pull"], places, "o", color=COLOURS[0])
        right.plot(dataset["worst_pull_kept"], places, "x", color=COLOURS[1])
        right.set(xscale="log", xlabel="worst pull, median")
        right.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
        right.set_xticks([], minor=True)
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


EXPERIMENT = Experiment(
    name="gate",
    title="which flows of known faults pass the checks of a measurement",
    references="this program",
    run=run,
    draw=draw,
    trains=True,
)
