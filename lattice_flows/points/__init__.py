"""Evaluation points of a residual, by name."""

from collections.abc import Callable

from lattice_flows.points.annealed import Annealed
from lattice_flows.points.box import Box
from lattice_flows.points.points import Points as Points
from lattice_flows.points.points import Source as Source
from lattice_flows.points.trajectories import Trajectories
from lattice_flows.setting import Setting

SOURCES: dict[str, Callable[[Setting], Source]] = {
    "both": Annealed,
    "wide": lambda setting: Annealed(setting, stretched=True),
    "walkers": lambda setting: Annealed(setting, own=False),
    "own": Trajectories,
    "transported": lambda setting: Trajectories(setting, transported=True),
    "box": Box,
}
"""Constructors by name."""
