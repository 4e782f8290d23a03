"""Trainings of an experiment that go on from another."""

from __future__ import annotations

import dataclasses

import jax

from lattice_flows.papers.experiment import Settings
from lattice_flows.papers.runs import trained
from lattice_flows.runs.config import Config

SMALL = {"width": 3, "batch": 32, "steps": 25, "ode_steps": 4}
PLAIN = {"field": "convolutional", "base": "ultralocal", "objective": "reverse-kl"}
POINT = Config("phi4", (3,), {"m": -1.0, "lam": 1.0}, **SMALL, **PLAIN)
LINE = Config(
    "phi4",
    (3,),
    {"m": (-1.0, -0.5), "lam": 1.0},
    objective="transport",
    source=dataclasses.asdict(POINT),
    **SMALL,
)


@jax.numpy_dtype_promotion("standard")  # optax leans on it
def test_a_run_goes_on_from_the_flow_of_another(tmp_path):
    point = trained(Settings(runs=tmp_path), "point", POINT)
    line = trained(Settings(runs=tmp_path), "line", LINE, "point")
    assert line.config == LINE
    for ours, theirs in zip(*map(jax.tree.leaves, (line.params.base, point.params)), strict=True):
        assert ours.dtype == theirs.dtype == "float32" and (ours == theirs).all()
    interrupted = Settings(runs=tmp_path, interrupted=lambda: True)  # nothing is left to interrupt
    assert trained(interrupted, "line", LINE, "point").provenance == line.provenance
