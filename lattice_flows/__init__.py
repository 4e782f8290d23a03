"""Sampling lattice field theories with learned flows.

The public names are loaded when they are first asked for: importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lattice_flows.api import train as train
    from lattice_flows.config import Config as Config
    from lattice_flows.ensemble import Ensemble as Ensemble
    from lattice_flows.flow import Flow as Flow
    from lattice_flows.reference import hmc as hmc
    from lattice_flows.run import Run as Run
    from lattice_flows.sampler import Sampler as Sampler

_HOMES = {
    "Config": "config",
    "Ensemble": "ensemble",
    "Flow": "flow",
    "Run": "run",
    "Sampler": "sampler",
    "hmc": "reference",
    "train": "api",
}
__all__ = ["Config", "Ensemble", "Flow", "Run", "Sampler", "hmc", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
