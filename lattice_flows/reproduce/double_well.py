"""The double-well path integral: the benchmark of Máté & Fleuret (TMLR), arXiv:2301.07388.

N = 16, T = 4, λ = 1, M = μ = m at four values of m. The paper's numbers for it are not at hand; the
exact answers are.
"""

from lattice_flows.reproduce import chains
from lattice_flows.reproduce.experiment import Experiment

_MASSES = (1.5, 3.0, 4.5, 6.0)

EXPERIMENT = Experiment(
    name="double-well",
    title="path integral of a particle in a double well, 16 time slices, by the deformation loss",
    references="Mate & Fleuret, arXiv:2301.07388, eq. (27)",
    run=lambda settings: chains.run_at(
        settings, "double-well", "double-well", [{"mass": m, "mu": m} for m in _MASSES]
    ),
    draw=lambda dataset: chains.draw_histograms(dataset, "mass", "m"),
    trains=True,
)
