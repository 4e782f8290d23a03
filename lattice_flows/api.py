"""From a theory to draws in one call, for notebooks and programs.

    sampler = train(Phi4((16,)), {"m": 0.5}, steps=500)
    ensemble = sampler.draw(sampler.theory.from_values(m=0.5), jax.random.key(0), 4096)

It is what the commands do: a run in a directory, trained to its end, and its sampler.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lattice_flows.runs.config import Config
from lattice_flows.runs.resources import refuse_training
from lattice_flows.runs.run import Run
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.training import trainer
from theories import Theory, refuse_nameless


def train(
    theory: Theory,
    couplings: Mapping[str, float | tuple[float, float]] | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[int, dict[str, float]], None] | None = None,
    **settings: Any,
) -> Sampler:
    """Train a flow on `theory`, and return its sampler.

    Arguments:
        theory: any theory, one of your own too.
        couplings: a value, or a range (low, high) to be conditioned on, by name; the theory's
            defaults stand for those left out.
        path: the directory of the run; a temporary one by default.
        resume: go on with the run that stands there, if one does; with its own configuration.
        overwrite: replace it.
        report: called with the steps done and their metrics, about every second at first.
        settings: the other fields of `Config`, e.g. steps, batch, width, seed; a field, base,
            interpolation, objective or source of points by name, or one of your own as it is.

    Raises LatticeFlowsError for a configuration that cannot be, a run that stands there already,
    and a training that diverges.
    """
    directory = Path(tempfile.mkdtemp(prefix="lattice-flows-") if path is None else path)
    refuse_nameless(type(theory))
    config = Config(theory.name, theory.shape, couplings or {}, **settings)
    if resume and Run.exists(directory):
        run = Run.open(directory)
    else:
        refuse_training(config)
        run = Run.create(directory, config, overwrite=overwrite)
    with run.lock():
        if not run.finished:
            trainer.train(
                run,
                resume=resume,
                report=report or (lambda step, metrics: None),
                interrupted=lambda: False,
            )
            run.finish()
    return Sampler.load(run)
