"""Trainings of an experiment, kept as runs: made, used again, carried on, going on from another."""

from __future__ import annotations

import dataclasses

import jax
import pytest

from lattice_flows.config import Config
from lattice_flows.interrupt import Interrupted
from lattice_flows.reproduce.experiment import Settings
from lattice_flows.reproduce.runs import trained
from theories.errors import LatticeFlowsError

SMALL = {"width": 3, "batch": 32, "steps": 25, "ode_steps": 4}
POINT = Config("phi4", (3,), {"m": -1.0, "lam": 1.0}, **SMALL)
LINE = Config(
    "phi4",
    (3,),
    {"m": (-1.0, -0.5), "lam": 1.0},
    objective="transport",
    source=dataclasses.asdict(POINT),
    **SMALL,
)


@jax.numpy_dtype_promotion("standard")  # optax leans on it
def test_runs_are_made_used_again_and_gone_on_from(tmp_path):
    stops = iter([False, True])  # after the first steps of the first
    settings = Settings(runs=tmp_path, interrupted=lambda: next(stops, False))
    with pytest.raises(Interrupted, match="give the same command again"):
        trained(settings, "point", POINT)
    point = trained(settings, "point", POINT)
    line = trained(settings, "line", LINE, "point")
    assert line.config == LINE
    for ours, theirs in zip(*map(jax.tree.leaves, (line.params.base, point.params)), strict=True):
        assert ours.dtype == theirs.dtype == "float32" and (ours == theirs).all()
    again = Settings(runs=tmp_path, interrupted=lambda: True)  # nothing is left to interrupt
    assert trained(again, "line", LINE, "point").provenance == line.provenance
    with pytest.raises(LatticeFlowsError, match="made with other settings"):
        trained(again, "line", POINT)
