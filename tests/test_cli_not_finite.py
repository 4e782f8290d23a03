"""A flow with parameters that are not finite is no trained flow, whichever command meets it."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import refused

from lattice_flows.io import checkpoint
from lattice_flows.runs.run import Run
from lattice_flows.sampling.sampler import Sampler

pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


@pytest.fixture(params=[np.nan, np.inf])
def spoilt(chain, request) -> Run:
    """A finished run, one of its weights not finite."""
    run = Run.open(shutil.copytree(chain.path, "spoilt"))
    leaves, tree = jax.tree.flatten(Sampler.load(run).params)
    leaves[-1] = np.full_like(leaves[-1], request.param)
    params = jax.tree.unflatten(tree, leaves)
    checkpoint.save(run.path / "checkpoint.npz", {"params": params})
    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "spoilt", "--resume"),
        ("transfer", "spoilt", "new", "--m", "-1.1:-0.7"),
        ("sample", "spoilt", "--m", -1, "-o", "ensemble.nc"),
        ("evaluate", "spoilt", "--m", -1),
        ("scan", "spoilt", "--m", "-1.1:-0.9:2", "-o", "scan.nc"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_it_is_refused(spoilt, arguments):
    assert "not finite" in refused(*arguments)
    assert [entry.name for entry in Path().iterdir()] == ["spoilt"]
