"""Tables and figures of papers, ours beside theirs, by name.

An experiment is a file of this package (its name with _ for -) that defines `EXPERIMENT`, and a
line of `EXPERIMENTS`. Importing this package costs nothing: an experiment is loaded when found.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lattice_flows.papers.experiment import Experiment

EXPERIMENTS = {
    "table1": "Gaussian mixtures in the plane, four ways to train (arXiv:2301.07388)",
    "table2": "phi4 theory on the cycle graph, four couplings (arXiv:2301.07388)",
    "double-well": "particle in a double well, masses and sizes (arXiv:2301.07388)",
    "gmm40": "forty Gaussians in the plane, gradient flow (arXiv:2410.03282)",
    "trajectories": "draws on their way, beside the densities they follow (arXiv:2301.07388)",
    "histogram": "magnetization on the cycle graph, two ways to train (arXiv:2301.07388)",
    "ingredients": "what symmetry, paths and walkers buy at m = 1 (arXiv:2301.07388)",
    "trade": "phi4 theory on 8 x 8 across the transition, beside HMC (arXiv:2410.19492)",
    "transfer": "from one coupling to others, four ways (TRADE: arXiv:2410.19492)",
    "temperature": "six Gaussians in the plane over temperature, four ways (arXiv:2410.19492)",
    "cost": "CPU seconds of 64 couplings, by one flow, a flow each, chains",
    "gate": "which faulty flows pass the checks of a measurement",
    "coverage": "how often the intervals of every command hold the exact answers",
    "teleportation": "a path of densities that no flow can follow (arXiv:2410.03282)",
}
"""What each experiment is, in the order of --help."""


def find(name: str) -> "Experiment":
    """The experiment called `name`.

    Raises LatticeFlowsError for an unknown name (naming the known ones).
    """
    if name not in EXPERIMENTS:
        from theories.errors import LatticeFlowsError  # loads jax, which --help must not wait for

        known = ", ".join(EXPERIMENTS)
        raise LatticeFlowsError(f"there is no experiment {name!r}; choose from {known}")
    return import_module(f"{__name__}.{name.replace('-', '_')}").EXPERIMENT
