"""Trainings of an experiment, kept as run directories.

One that is finished is used as it is, one that was interrupted is carried on, so that a long
reproduction can be stopped and started.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from lattice_flows.config import Config
from lattice_flows.interrupt import Interrupted
from lattice_flows.reproduce.experiment import Settings
from lattice_flows.run import Run, lock
from lattice_flows.sampler import Sampler
from lattice_flows.training import train
from observables import Estimate
from theories.errors import LatticeFlowsError


def trained(settings: Settings, name: str, config: Config) -> Sampler:
    """The flow of `config`, from the run `name`, which is made or carried on as needed.

    Raises LatticeFlowsError where it is a run of another configuration, and Interrupted.
    """
    folder = settings.runs / name
    before = jax.config.read("jax_enable_x64")
    with lock(folder):
        run = Run.open(folder) if Run.exists(folder) else Run.create(folder, config)
        if run.config != config:
            raise LatticeFlowsError(
                f"{folder} was made with other settings: move it away, or give another --runs"
            )
        if not run.finished:
            # the very training of `lattice-flows train`: single precision but for x64 runs
            jax.config.update("jax_enable_x64", config.x64)
            try:
                with settings.progress(f"train {folder}", config.steps) as report:
                    train(run, resume=True, report=report, interrupted=settings.interrupted)
            except Interrupted as error:
                raise Interrupted(
                    f"{folder} is interrupted and saved; to go on, give the same command again"
                ) from error
            finally:
                jax.config.update("jax_enable_x64", before)
            run.finish()
    return Sampler.load(run)


def number(report: Mapping[str, Any], key: str) -> Estimate:
    """A number of `evaluate` with its statistical error, 0 where it gives none."""
    value = report.get(key, report["observables"].get(key))
    if isinstance(value, Mapping):
        return Estimate(value["value"], value["stderr"])
    return Estimate(value, report.get(f"{key}_stderr", 0.0))


def over_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over trainings and its error from their scatter; of one, its statistical error."""
    n = len(estimates)
    if n == 1:
        return estimates[0]
    values = [estimate.value for estimate in estimates]
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(n)))
