"""Sampling lattice field theories with learned flows.

The public names are loaded when they are first asked for: importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lattice_flows.api import train as train
    from lattice_flows.ensembles.ensemble import Ensemble as Ensemble
    from lattice_flows.flows.flow import Flow as Flow
    from lattice_flows.mcmc.hmc import hmc as hmc
    from lattice_flows.runs.config import Config as Config
    from lattice_flows.runs.run import Run as Run
    from lattice_flows.sampling.sampler import Sampler as Sampler

_HOMES = {
    "Config": "runs.config",
    "Ensemble": "ensembles.ensemble",
    "Flow": "flows.flow",
    "Run": "runs.run",
    "Sampler": "sampling.sampler",
    "hmc": "mcmc.hmc",
    "train": "api",
}
__all__ = ["Config", "Ensemble", "Flow", "Run", "Sampler", "hmc", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
