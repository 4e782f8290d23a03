"""φ⁴ theory on the cycle graph: Máté & Fleuret, arXiv:2301.07388, Table 2 and Fig. 10.

N = 16, λ = 1/16, α = 0.01 at four values of m: our field by the deformation loss, and the paper's
baseline, reverse KL with a field that knows of no symmetry, from the paper's base e^{-(φ/2)⁴}.
Where the wells are deep the baseline keeps one of them. Its reverse ESS does not tell, and in
E_q[log q + S] it is a small number on top of a large one; the mode weight and the forward ESS tell.
The paper's histogram of the magnetization has a rough estimate to lie beside it; ours has the exact
P(M).
"""

import numpy as np

from lattice_flows.io.netcdf import Variable
from lattice_flows.papers import chains
from lattice_flows.papers.chains import Case
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.runs.config import Config
from observables import Estimate

_OBLIVIOUS = {"field": "mlp", "base": "ultralocal", "width": 64}
_BASELINE = {
    # the path gradient is the same loss with less noise: it gets there in fewer steps
    "quick": {
        **_OBLIVIOUS,
        "objective": "path-gradient",
        "batch": 128,
        "steps": 8000,
        "learning_rate": 0.002,  # with 0.003 it diverges
        "ode_steps": 12,  # with 8 the loss falls below -log Z, by the solver's error
    },
    "paper": {
        **_OBLIVIOUS,
        "objective": "reverse-kl",
        "batch": 256,
        "steps": 10_000,
        "ode_steps": 50,
    },
}
# E_q[log q + S] and reverse ESS
_DEFORMATION = {
    0.25: ((-9.78, 0.001), (0.99, 0.0)),
    0.5: ((-18.8, 0.001), (0.99, 0.001)),
    0.75: ((-37.0, 0.001), (0.99, 0.006)),
    1.0: ((-63.9, 0.001), (0.99, 0.002)),
}
_REVERSE_KL = {
    0.25: ((-9.78, 0.001), (0.98, 0.0)),
    0.5: ((-18.7, 0.018), (0.70, 0.209)),
    0.75: ((-36.4, 0.529), (0.97, 0.008)),
    1.0: ((-63.1, 0.844), (0.94, 0.042)),
}
MASSES = tuple(_DEFORMATION)


def deformation(settings: Settings, m: float) -> Case:
    """Our field by the deformation loss."""
    return Case(
        f"deformation, m = {m:g}",
        f"table2-{settings.preset}-{m:g}",
        Config("phi4", (16,), {"m": m, "alpha": 0.01}, steps=chains.STEPS[settings.preset]),
        _numbers(*_DEFORMATION[m]),
    )


def baseline(settings: Settings, m: float) -> Case:
    """Reverse KL with an oblivious field."""
    return Case(
        f"oblivious reverse KL, m = {m:g}",
        f"table2-{settings.preset}-oblivious-{m:g}",
        Config("phi4", (16,), {"m": m, "alpha": 0.01}, **_BASELINE[settings.preset]),
        _numbers(*_REVERSE_KL[m]),
    )


def _numbers(free_energy: tuple[float, float], ess: tuple[float, float]) -> dict[str, Estimate]:
    return {"free_energy": Estimate(*free_energy), "ess_reverse": Estimate(*ess)}


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Both, at every coupling."""
    rows, variables = chains.judge(settings, [deformation(settings, m) for m in MASSES])
    more_rows, more = chains.judge(settings, [baseline(settings, m) for m in MASSES])
    masses = Variable(("coupling_point",), np.array(MASSES), "coupling m")
    renamed = {f"{name}_baseline": variable for name, variable in more.items()}
    return [*rows, *more_rows], {"m": masses, **variables, **renamed}


EXPERIMENT = Experiment(
    name="table2",
    title="phi4 theory on the cycle graph of 16 sites, by deformation and by reverse KL",
    references="Mate & Fleuret, arXiv:2301.07388, Table 2 and fig. 10",
    run=run,
    draw=lambda dataset: chains.draw_histograms(dataset, "m", "m"),
    trains=True,
)
