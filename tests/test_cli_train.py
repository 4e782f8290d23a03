"""`lattice-flows train`, with a stand-in for the training itself."""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from pathlib import Path

import pytest
from command_line import call, refused

from lattice_flows.io.interrupt import Interrupted
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run

TRAIN = ["--theory", "phi4", "--sites", "4", "--m", "0.25:1", "--steps", "3"]


pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


@pytest.fixture
def run():
    """A run directory before its first checkpoint."""
    config = Config(theory="phi4", shape=(4,), couplings={"m": (0.25, 1)}, steps=3)
    return Run.create("run", config)


@pytest.fixture
def training(monkeypatch):
    """Counts steps in the history, saves nothing else, and stops where training would."""
    module = types.ModuleType("lattice_flows.training.trainer")
    vars(module)["signals"] = []

    def train(run, *, resume, report, interrupted, save_every, begun):
        for step in range(len(run.history()) + 1, run.config.steps + 1):
            run.append({"step": step, "loss": 1 / step})
            report(step, {"loss": 1 / step})
            for number in module.signals:
                os.kill(os.getpid(), number)
            if interrupted():
                raise Interrupted

    vars(module)["train"] = train
    monkeypatch.setitem(sys.modules, "lattice_flows.training.trainer", module)
    return module


def test_train_makes_a_run(training):
    result = call("train", "runs/r", *TRAIN, "--seed", 5, "--learning-rate", 0.01, "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["finished"] and summary["last"]["step"] == 3
    assert "runs/r is trained on m 0.25:1" in result.stderr
    config = Run.open("runs/r").config
    assert (config.seed, config.learning_rate, config.steps) == (5, 0.01, 3)
    assert config.couplings["m"] == (0.25, 1.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupted_training_leaves_with_75_and_goes_on(training, number):
    training.signals = [number]
    result = call("train", "a run", *TRAIN)
    assert result.exit_code == 75
    assert "lattice-flows train 'a run' --resume" in result.stderr
    assert number.name in result.stderr
    training.signals = []
    assert call("train", "a run", "--resume").exit_code == 0
    assert [r["step"] for r in Run.open("a run").history()] == [1, 2, 3]


def test_resume_makes_the_run_where_there_is_none_and_knows_a_finished_one(training):
    assert call("train", "r", *TRAIN, "--resume").exit_code == 0
    again = call("train", "r", *TRAIN, "--resume")
    assert again.exit_code == 0 and "r is finished: 3 steps on m 0.25:1" in again.stderr


def test_resume_completes_a_creation_that_was_cut_short(training):
    Path("r").mkdir()
    Path("r/provenance.json").write_text("{}")
    assert call("train", "r", *TRAIN, "--resume").exit_code == 0


def test_an_existing_run_is_not_trained_over(training, run):
    message = refused("train", run.path, *TRAIN)
    assert "--resume" in message and "--overwrite" in message
    assert call("train", run.path, *TRAIN, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--theory", "double-well"], "theory phi4, not double-well"),
        (["--sites", 8], "shape 4, not 8"),
        (["--m", "0.25:2"], "m 0.25:1, not 0.25:2"),
        (["--m", 0.5], "m 0.25:1, not 0.5"),
        (["--steps", 4], "steps 3, not 4"),
        (["--seed", 1], "seed 0, not 1"),
        (["--x64"], "x64 False, not True"),
    ],
)
def test_a_resumed_run_keeps_what_it_was_made_with(training, run, args, words):
    message = refused("train", run.path, "--resume", *args)
    assert words in message
    assert run.history() == []


def test_a_run_in_use_is_refused(training, run):
    with run.lock():
        assert "in use by another process" in refused("train", run.path, "--resume")


def test_a_defect_is_not_dressed_up_as_bad_input(training):
    def train(*args, **kwargs):
        raise ZeroDivisionError

    training.train = train
    assert isinstance(call("train", "r", *TRAIN).exception, ZeroDivisionError)
