"""Trainings of an experiment, kept as run directories.

One that is finished is used as it is, one that was interrupted is carried on, so that a long
reproduction can be stopped and started.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from lattice_flows.ensembles.result import UNKNOWN
from lattice_flows.flows.params import Params
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.papers.experiment import Settings
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run, lock
from lattice_flows.sampling.evaluation import Evaluation
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.training.trainer import Trainer, advance, train
from lattice_flows.training.transfer import taken_over
from observables import Estimate
from theories.errors import LatticeFlowsError


def trained(settings: Settings, name: str, config: Config, source: str | None = None) -> Sampler:
    """The flow of `config`, from the run `name`, which is made or carried on as needed.

    A new one goes on from the flow of the run `source`, where there is one. Raises
    LatticeFlowsError where it is a run of another configuration, and Interrupted.
    """
    folder = settings.runs / name
    with lock(folder):
        if Run.exists(folder):
            run = Run.open(folder)
        else:
            run = Run.create(folder, config, start=_start(settings, config, source))
        if run.config != config:
            raise LatticeFlowsError(
                f"{folder} was made with other settings: move it away, or give other `runs`"
            )
        if not run.finished:
            # the very training of `lattice-flows train`: single precision but for x64 runs
            try:
                with (
                    jax.enable_x64(config.x64),
                    settings.progress(f"train {folder}", config.steps) as report,
                ):
                    train(run, resume=True, report=report, interrupted=settings.interrupted)
            except Interrupted as error:
                raise Interrupted(
                    f"{folder} is interrupted and saved; to go on, give the same command again"
                ) from error
            run.finish()
    return Sampler.load(run)


def _start(settings: Settings, config: Config, source: str | None) -> dict[str, Any] | None:
    """What a run that goes on from another takes over; None for one that does not."""
    if source is None:
        return None
    with jax.enable_x64(config.x64):
        return taken_over(config, Run.open(settings.runs / source))


def train_afresh(
    settings: Settings, config: Config, known: Params | None = None
) -> tuple[Sampler, float]:
    """The flow of `config`, kept in no run, and the CPU seconds of its training with compilation.

    What is not None of the `known` parameters is taken as it is. Raises Interrupted, and
    LatticeFlowsError if the training diverges.
    """
    begin = time.process_time()
    with jax.enable_x64(False):  # the very training of `lattice-flows train`
        trainer = Trainer(config)
        state = trainer.init(jax.random.key(config.seed), known)
        with settings.progress(f"train {config.trained_on()}", config.steps) as report:
            while int(state.step) < config.steps:
                if settings.interrupted():
                    raise Interrupted("interrupted, nothing is kept: give the same command again")
                state, record = advance(trainer, state, config.steps)
                report(int(state.step), record)
    spent = time.process_time() - begin
    return Sampler(config, trainer.model, jax.tree.map(np.asarray, state.params), {}), spent


def number(found: Evaluation, name: str) -> Estimate:
    """An estimate or detail of an evaluation, with error 0 where it has none; NaN for None."""
    value = {**found.details, **found.estimates}[name]
    if value is None or isinstance(value, Estimate):
        return value or UNKNOWN
    return Estimate(float(value), 0.0)


def over_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over trainings and its error from their scatter; of one, its statistical error."""
    n = len(estimates)
    if n == 1:
        return estimates[0]
    values = [estimate.value for estimate in estimates]
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(n)))
