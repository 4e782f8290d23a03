"""The magnetization of φ⁴ theory on the cycle graph: Fig. 10 of Máté & Fleuret, arXiv:2301.07388.

The flows of `table2`, by the deformation loss and by reverse KL with an oblivious field: where the
wells are deep the latter may settle on one. Draws are taken as they come, without weights, and
judged by P(M > 0) and by the Kolmogorov distance

    D = max_M |F_n(M) - F(M)|

from the exact distribution function F of the transfer matrix: about 0.9/√n for n independent exact
draws, and at least the weight of a well that they miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_trapezoid

from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.papers import chains, table2
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.runs import over_seeds, trained
from observables import Estimate, magnetization
from theories import Phi4, TransferMatrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MASSES, ALPHA = table2.MASSES, 0.01
TRAININGS = {"deformation": table2.deformation, "reverse KL": table2.baseline}
"""The runs of `table2` that are drawn from."""
_DRAWS, _BINS, _POINTS = 16384, 60, 2001


def kolmogorov(
    draws: NDArray[np.float64], x: NDArray[np.float64], density: NDArray[np.float64]
) -> Estimate:
    """D of draws (n,) from the density on the rising grid x, with the error of F_n where D is."""
    draws = np.sort(draws)
    n = len(draws)
    exact = np.interp(draws, x, cumulative_trapezoid(density, x, initial=0))
    below, above = exact - np.arange(n) / n, np.arange(1, n + 1) / n - exact
    away = np.maximum(below, above)
    at = np.argmax(away)
    return Estimate(float(away[at]), float(np.sqrt(exact[at] * (1 - exact[at]) / n)))


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """The histogram of the first seed's flows, and the numbers of all."""
    seeds = range(settings.seed, settings.seed + settings.seeds)
    theory = Phi4((16,))
    answers = [TransferMatrix(theory, theory.from_values(m=m, alpha=ALPHA)) for m in MASSES]
    curves = [exact.magnetization_distribution(_POINTS) for exact in answers]
    rows, histograms, numbers = [], [], []
    for training in TRAININGS:
        for m, exact, curve in zip(MASSES, answers, curves, strict=True):
            draws = [_magnetization(settings, training, m, seed) for seed in seeds]
            distance = [kolmogorov(x, *curve) for x in draws]
            positive = [_share(x > 0) for x in draws]
            histograms.append(np.histogram(draws[0], _BINS, density=True)[::-1])
            numbers.append([[e.value for e in each] for each in (distance, positive)])
            rows += [
                Row(f"Kolmogorov distance at m = {m:g}, {training}", over_seeds(distance)),
                Row(
                    f"P(M>0) at m = {m:g}, {training}",
                    over_seeds(positive),
                    exact=exact.positive_mode_weight,
                ),
            ]
    return rows, _variables(answers, curves, histograms, np.array(numbers))


def _magnetization(settings: Settings, training: str, m: float, seed: int) -> np.ndarray:
    """M of draws, (n,)."""
    sampler = trained(settings, *TRAININGS[training](settings, m).run_of(seed))
    couplings = sampler.theory.from_values(**sampler.config.check_couplings({}))
    key = jax.random.fold_in(jax.random.key(seed), 1)
    return magnetization(sampler.draw(couplings, key, _DRAWS).configurations)


def _share(happened: np.ndarray) -> Estimate:
    """How often, with the binomial error."""
    p = float(np.mean(happened))
    return Estimate(p, float(np.sqrt(p * (1 - p) / len(happened))))


def _variables(
    answers: Sequence[TransferMatrix],
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
    histograms: Sequence[tuple[np.ndarray, np.ndarray]],
    numbers: np.ndarray,
) -> dict[str, Variable]:
    """`curves` and `histograms` are pairs of M and density; numbers (flows, 2, seeds)."""
    at, each = ("coupling_point",), ("training", "coupling_point")
    numbers = numbers.reshape(len(TRAININGS), len(MASSES), *numbers.shape[1:])
    edges, densities = (
        np.reshape(part, (len(TRAININGS), len(MASSES), -1))
        for part in zip(*histograms, strict=True)
    )
    m, exact = (np.array(part) for part in zip(*curves, strict=True))
    axis = (*at, "magnetization_index")
    return {
        "training": Variable(("training",), np.array(list(TRAININGS)), "how the flow is trained"),
        "m": Variable(at, np.array(MASSES), "coupling m"),
        "kolmogorov": Variable(
            (*each, "seed"), numbers[:, :, 0], "Kolmogorov distance of M of draws from exact"
        ),
        "positive_mode_weight": Variable(
            (*each, "seed"), numbers[:, :, 1], "share of draws with M > 0"
        ),
        "positive_mode_weight_exact": Variable(
            at, np.array([x.positive_mode_weight for x in answers]), "P(M > 0), exact"
        ),
        "bin_edge": Variable((*each, "bin_edge_index"), edges, "magnetization M"),
        "histogram": Variable((*each, "bin"), densities, "density of M over draws of the flow"),
        "magnetization": Variable(axis, m, "magnetization M"),
        "magnetization_density_exact": Variable(axis, exact, "exact P(M)"),
    }


def draw(dataset: Dataset) -> Figure:
    """A row of histograms for each training, beside the exact P(M)."""
    return chains.draw_histograms(dataset, "m", "m", rows=tuple(TRAININGS))


EXPERIMENT = Experiment(
    name="histogram",
    title="magnetization of phi4 theory on the cycle graph by the deformation loss and reverse KL",
    references="Mate & Fleuret, arXiv:2301.07388, fig. 10",
    run=run,
    draw=draw,
    trains=True,
)
