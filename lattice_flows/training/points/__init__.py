"""Evaluation points of a residual, by name."""

from collections.abc import Callable

from lattice_flows.training.points.annealed import Annealed
from lattice_flows.training.points.box import Box
from lattice_flows.training.points.points import Points as Points
from lattice_flows.training.points.points import Source as Source
from lattice_flows.training.points.trajectories import Trajectories
from lattice_flows.training.problem import Problem

SOURCES: dict[str, Callable[[Problem], Source]] = {
    "mixed": Annealed,
    "stretched": lambda problem: Annealed(problem, stretched=True),
    "walkers": lambda problem: Annealed(problem, own=False),
    "trajectories": Trajectories,
    "particles": lambda problem: Trajectories(problem, particles=True),
    "box": Box,
}
"""Constructors by name."""
