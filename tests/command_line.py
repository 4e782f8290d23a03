"""The command line, called within the process of a test, and runs for it to work on."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
from click.testing import CliRunner, Result
from helpers import random_params

from lattice_flows.flows.model import build
from lattice_flows.flows.params import Params
from lattice_flows.io import checkpoint
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from lattice_flows.scripts.cli import main

# theory, lattice and couplings, before the work begins
ANNOUNCED = r"[a-z0-9-]+  [0-9x]+ (?:sites|dimensions)(?:  [a-z_]+ [-+.e:0-9]+)*\n"
# how far the work has come
PROGRESS = r"(?:sample|hmc|scan|evaluate) [^\n]+ \d+/\d+  \d+ s[^\n]*\n"
SINGLE_WELL = {"lam": 1.0, "alpha": 0.1}


def call(*args: object) -> Result:
    """What `lattice-flows ARGS…` does."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def refused(*args: object, code: int = 1) -> str:
    """The one line that a refused command leaves on stderr, after what it was about to do."""
    result = call(*args)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    said = re.fullmatch(rf"(?:{ANNOUNCED})?(?:{PROGRESS})*(Error: [^\n]+\n)", result.stderr)
    assert said, result.stderr
    return said[1]


def small_run(path: Path, size: float, **settings) -> Run:
    """A run in float32 with the checkpoint of a small flow that is fit for a single well.

    No training: base and backbone do the most of it, the rest of the field is noise of `size`.
    """
    settings = {"field": "convolutional", "base": "ultralocal", "base_curvature": 1.0} | settings
    settings = {"theory": "phi4", "width": 4, "ode_steps": 6} | settings
    run = Run.create(path, Config(**settings))
    flow = build(run.config).flow
    field = random_params(flow.field, size, seed=1)
    params = Params(
        flow.base.init(), field | {"backbone": {**field["backbone"], "b": jnp.zeros(2)}}
    )
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    checkpoint.save(run.path / "checkpoint.npz", {"params": single, "step": run.config.steps})
    run.finish()
    return run
