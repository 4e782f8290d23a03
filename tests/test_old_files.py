"""Runs and files of version 0.1 still open, and mean what they meant.

tests/data/v0.1 was written by the commit before the rooms (b104266), on a chain of four sites:
`run` and `double-well` are trained, `half` was stopped after 20 of 60 steps, with the options that
are called otherwise now, and half.history.jsonl is how that version ended it.
"""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import call

from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.figures.plots import plot_file
from lattice_flows.io.netcdf import read_dataset
from lattice_flows.runs.run import Run
from lattice_flows.sampling.sampler import Sampler
from observables import exact_answers

OLD = Path(__file__).parent / "data" / "v0.1"
FILES = ("ensemble", "chains", "observables", "scan", "exact", "correlator")

pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


def losses(history):
    records = [json.loads(line) for line in history.read_text().splitlines()]
    return {record["step"]: record["loss"] for record in records if "loss" in record}


@pytest.mark.parametrize("name", [*FILES, "run", "half", "double-well"])
def test_it_is_intact(name):
    path = OLD / (f"{name}.nc" if name in FILES else name)
    told = json.loads(call("info", path, "--json").stdout)
    assert told["intact"] is True and not told["damage"]
    assert told["theory"] == ("double-well" if name == "double-well" else "phi4")


@pytest.mark.parametrize(
    ("name", "points"), [("run", "mixed"), ("half", "stretched"), ("double-well", "trajectories")]
)
def test_options_have_their_names_of_today(name, points):
    assert Run.open(OLD / name).config.points == points
    assert Run.open(OLD / name).config.constant == "estimated"


@pytest.mark.parametrize("name", ["run", "double-well"])
def test_a_run_draws(name):
    sampler = Sampler.load(Run.open(OLD / name))
    point = {"run": {"m": 0.5}, "double-well": {"mass": 2.0, "mu": 2.0}}[name]
    ensemble = sampler.draw(sampler.theory.from_values(**point), jax.random.key(0), 32)
    assert np.isfinite(ensemble.log_weights).all()


def test_the_draws_are_those_of_before():
    """The command that made ensemble.nc makes the same draws, to the rounding of this machine."""
    old = Ensemble.load(OLD / "ensemble.nc")
    call("sample", OLD / "run", "--m", 0.5, "-n", 20, "-o", "again.nc")
    new = Ensemble.load("again.nc")
    np.testing.assert_allclose(new.configurations, old.configurations, rtol=0, atol=1e-4)
    np.testing.assert_allclose(new.log_weights, old.log_weights, rtol=0, atol=1e-3)


def test_a_training_goes_on():
    shutil.copytree(OLD / "half", "half")
    # optax needs it; the training was in single precision
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        done = call("train", "half", "--resume")
    assert done.exit_code == 0, done.stderr
    new, old = losses(Path("half/history.jsonl")), losses(OLD / "half.history.jsonl")
    assert new.keys() == old.keys()
    assert [new[step] for step in old] == pytest.approx([*old.values()], rel=0.05)
    assert Run.open("half").finished


def test_what_was_measured_is_measured_again():
    """From the old ensemble, to rounding."""
    ensemble, file = Ensemble.load(OLD / "ensemble.nc"), read_dataset(OLD / "observables.nc")
    for name, estimate in ensemble.measure().observables.items():
        assert float(file[name]) == pytest.approx(estimate.value, rel=1e-9)
        assert float(file[f"{name}_stderr"]) == pytest.approx(estimate.stderr, rel=1e-6)


def test_exact_answers_are_those_of_before():
    table = read_dataset(OLD / "exact.nc")
    theory = Ensemble.load(OLD / "chains.nc").theory
    for i, m in enumerate(table["m"]):
        answers = exact_answers(theory, theory.from_values(m=float(m)))
        for name in ("log_z", "phi2", "susceptibility", "magnetization"):
            assert float(table[name][i]) == pytest.approx(answers[name], rel=1e-9)


@pytest.mark.parametrize("name", ["ensemble", "chains", "observables", "scan"])
def test_figures_are_drawn(name):
    plot_file(OLD / f"{name}.nc").draw_without_rendering()
