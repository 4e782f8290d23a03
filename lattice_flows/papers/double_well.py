"""The double-well path integral: the benchmark of Máté & Fleuret (TMLR), arXiv:2301.07388.

T = 4, λ = 1, M = μ = m: at four values of m on N = 16 time slices, and on 4 to 64 slices at
m = 1.5, where the path integral approaches the trace of e^{-TH}. The paper's numbers for it are not
at hand; the exact answers are. The bonds of 64 slices are four times as stiff as those of 16: the
flow is solved in 32 steps there, not 16, and trained on half as many configurations a step.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from lattice_flows.io.netcdf import Variable
from lattice_flows.papers import chains
from lattice_flows.papers.chains import Case
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.runs.config import Config

_MASSES = (1.5, 3.0, 4.5, 6.0)
_SLICES = (4, 8, 32, 64)  # beside 16
_FINE: dict[str, Any] = {"ode_steps": 32, "batch": 512}


def case(settings: Settings, m: float, slices: int = 16) -> Case:
    """A flow at one mass and number of slices."""
    config = Config(
        "double-well",
        (slices,),
        {"mass": m, "mu": m},
        steps=chains.STEPS[settings.preset],
        **(_FINE if slices > 16 else {}),
    )
    name = f"double-well-{settings.preset}-{m:g}"
    if slices == 16:
        return Case(f"m = {m:g}", name, config)
    return Case(f"m = {m:g}, N = {slices}", f"{name}-{slices}", config)


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Both scans."""
    rows, variables = chains.judge(settings, [case(settings, m) for m in _MASSES])
    more_rows, more = chains.judge(settings, [case(settings, _MASSES[0], n) for n in _SLICES])
    more = {f"{name}_of_size": _by_size(variable) for name, variable in more.items()}
    return [*rows, *more_rows], {
        "mass": Variable(("coupling_point",), np.array(_MASSES), "coupling mass = mu"),
        "slices": Variable(("size",), np.array(_SLICES), "time slices N"),
        **variables,
        **more,
    }


def _by_size(variable: Variable) -> Variable:
    return replace(variable, dimensions=("size", *variable.dimensions[1:]))


EXPERIMENT = Experiment(
    name="double-well",
    title="path integral of a particle in a double well, by the deformation loss",
    references="Mate & Fleuret, arXiv:2301.07388, eq. (27)",
    run=run,
    draw=lambda dataset: chains.draw_histograms(dataset, "mass", "m"),
    trains=True,
)
