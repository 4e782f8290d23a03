"""Killed at any moment, a training that is resumed ends in the bytes of one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import SINGLE_WELL, small_run

from lattice_flows.runs.run import Run

KILLS = int(os.environ.get("LATTICE_FLOWS_KILLS", "5"))  # more are asked for by hand
TRAIN = "--theory phi4 --sites 4 --m 0.25:1 --steps 600 --batch 32 --width 4 --ode-steps 4"
TRAIN += " --field convolutional --base ultralocal"  # compiled soonest


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A shared cache of compiled programs, so that a restart costs little more than imports."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return {**os.environ, **cache}


def begin(environment: dict[str, str], *arguments: str | Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "lattice_flows.scripts.cli", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def start(run: Path, environment: dict[str, str], *more: str) -> subprocess.Popen:
    return begin(environment, "train", run, *TRAIN.split(), "--resume", *more)


def finish(run: Path, environment: dict[str, str]) -> None:
    process = start(run, environment)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def content(run: Path) -> tuple[bytes, bytes]:
    return (run / "checkpoint.npz").read_bytes(), (run / "history.jsonl").read_bytes()


@pytest.fixture(scope="module")
def reference(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> tuple[tuple[bytes, bytes], float]:
    """What an uninterrupted training leaves, and how long one takes."""
    folder = tmp_path_factory.mktemp("reference")
    finish(folder / "cold", environment)
    before = time.monotonic()
    finish(folder / "warm", environment)
    duration = time.monotonic() - before
    assert content(folder / "cold") == content(folder / "warm")
    return content(folder / "warm"), duration


def test_kill_at_random_moments(
    tmp_path: Path,
    environment: dict[str, str],
    reference: tuple[tuple[bytes, bytes], float],
    rng: np.random.Generator,
) -> None:
    expected, duration = reference
    killed, finished, run = 0, 0, tmp_path / "0"
    while killed < KILLS:
        process = start(run, environment)
        try:
            process.communicate(timeout=duration * rng.uniform(0.02, 1.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        else:
            assert process.returncode == 0
            assert content(run) == expected
            finished += 1
            run = tmp_path / str(finished)
    finish(run, environment)
    assert content(run) == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(
    tmp_path: Path,
    environment: dict[str, str],
    reference: tuple[tuple[bytes, bytes], float],
    number: signal.Signals,
) -> None:
    run = tmp_path / "run"
    process = start(run, environment)
    while not (run / "history.jsonl").exists() or not (run / "history.jsonl").read_bytes():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 75
    assert "--resume" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    finish(run, environment)
    assert content(run) == reference[0]


def test_a_signal_is_answered_while_jax_compiles(
    tmp_path: Path, environment: dict[str, str], reference: tuple[tuple[bytes, bytes], float]
) -> None:
    """Within 4 seconds and those of a busy machine, where compiling takes far longer."""
    run = tmp_path / "run"
    give_up(start(run, environment, "--no-cache"), run)
    finish(run, environment)
    assert content(run) == reference[0]


def give_up(process: subprocess.Popen, run: Path) -> None:
    """SIGTERM once the run stands."""
    while not (run / "config.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert time.monotonic() - before < 15
    assert process.returncode == 75
    assert "--resume" in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_a_transfer_is_given_up_while_jax_compiles_too(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    kind = {"field": "hollow", "base": "mean-field", "base_curvature": 0.0}
    couplings = {"m": -1.0, **SINGLE_WELL}
    source = small_run(tmp_path / "source", 0.05, shape=(4,), couplings=couplings, **kind)
    run = tmp_path / "run"
    give_up(begin(environment, "transfer", source.path, run, "--m=-1:-0.6", "--no-cache"), run)
    assert Run.open(run).has_start
