"""φ⁴ theory on the cycle graph: Máté & Fleuret, arXiv:2301.07388, Table 2 and Fig. 10.

N = 16, λ = 1/16, α = 0.01 at four values of m, by the deformation loss. The paper's histogram of
the magnetization has a rough estimate to lie beside it; ours has the exact P(M).
"""

from lattice_flows.reproduce import chains
from lattice_flows.reproduce.experiment import Experiment
from observables import Estimate

_ESS = Estimate(0.99, 0.0)
# m: E_q[log q + S] and reverse ESS of the paper's deformation loss
_PAPER = {
    0.25: {"free_energy": Estimate(-9.78, 0.001), "ess_reverse": _ESS},
    0.5: {"free_energy": Estimate(-18.8, 0.001), "ess_reverse": Estimate(0.99, 0.001)},
    0.75: {"free_energy": Estimate(-37.0, 0.001), "ess_reverse": Estimate(0.99, 0.006)},
    1.0: {"free_energy": Estimate(-63.9, 0.001), "ess_reverse": Estimate(0.99, 0.002)},
}

EXPERIMENT = Experiment(
    name="table2",
    title="phi4 theory on the cycle graph of 16 sites by the deformation loss",
    references="Mate & Fleuret, arXiv:2301.07388, Table 2 and fig. 10",
    run=lambda settings: chains.run_at(
        settings, "table2", "phi4", [{"m": m, "alpha": 0.01} for m in _PAPER], list(_PAPER.values())
    ),
    draw=lambda dataset: chains.draw_histograms(dataset, "m", "m"),
    trains=True,
)
