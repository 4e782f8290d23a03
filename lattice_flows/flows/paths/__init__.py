"""Interpolations between the base and the target, by name."""

from collections.abc import Callable

from lattice_flows.flows.paths.coupling import CouplingPath
from lattice_flows.flows.paths.diffusion import DiffusionPath as DiffusionPath
from lattice_flows.flows.paths.gradient import GradientPath as GradientPath
from lattice_flows.flows.paths.learned import LearnedPath as LearnedPath
from lattice_flows.flows.paths.learned import learned
from lattice_flows.flows.paths.linear import LinearPath as LinearPath
from lattice_flows.flows.paths.massive import MassivePath as MassivePath
from lattice_flows.flows.paths.massive import massive
from lattice_flows.flows.paths.path import Path as Path

PATHS: dict[str, Callable[..., Path]] = {
    "linear": lambda base, even, ranges, width: LinearPath(base, even),
    "learned": learned,
    "coupling": lambda base, even, ranges, width: CouplingPath(base, even),
    "massive": massive,
    "constant-wells": lambda base, even, ranges, width: LinearPath(base, even),  # a tilted base's
    "diffusion": lambda base, even, ranges, width: DiffusionPath(base, even),
}
"""Constructors by name: (base, even, ranges, width) -> Path."""
