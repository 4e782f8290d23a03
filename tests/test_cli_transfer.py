"""lattice-flows transfer: what it makes of a run, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import SINGLE_WELL, call, refused, small_run

from lattice_flows.flows.model import build
from lattice_flows.flows.params import Params
from lattice_flows.io import checkpoint
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from lattice_flows.scripts._values import Values
from lattice_flows.scripts.transfer import _config
from lattice_flows.training.trainer import Trainer
from lattice_flows.training.transfer import transferred
from theories import LatticeFlowsError

KEY = jax.random.key(0)
FEW = ("--steps", 2, "--batch", 32, "--width", 3, "--ode-steps", 4)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("source") / "run"
    kind = {"field": "hollow", "base": "mean-field", "base_curvature": 0.0}
    return small_run(path, 0.05, shape=(4,), couplings={"m": -1.0, **SINGLE_WELL}, **kind)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Run:
    """Of a field that is compiled faster, and can't go to another lattice."""
    path = tmp_path_factory.mktemp("plain") / "run"
    return small_run(path, 0.05, shape=(4,), couplings={"m": -1.0, **SINGLE_WELL})


@pytest.fixture(autouse=True)
def trainable(in_an_empty_directory):
    with jax.numpy_dtype_promotion("standard"):  # optax needs it
        yield


def test_a_run_is_carried_to_a_range(plain):
    source = plain
    result = call("transfer", source.path, "line", "--m", "-1:-0.6", *FEW[:-2], "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["finished"] and summary["couplings"]["m"] == [-1.0, -0.6]
    assert [point["couplings"]["m"] for point in summary["before"]] == [-1.0, -0.8, -0.6]
    assert summary["before"][0]["ess"] > 0.5
    assert all(f"ESS {p['ess']:.3g} at m" in result.stderr for p in summary["before"])
    config = Run.open("line").config
    assert config.source_config == source.config
    assert config.ode_steps == 2 * source.config.ode_steps
    # the flow that it goes on from is the one of RUN, bit for bit, and stays so
    with np.load("line/checkpoint.npz") as new, np.load(source.path / "checkpoint.npz") as old:
        for name in old.files:
            if ".field" in name:
                carried = new[name.replace(".field", ".base.field", 1)]
                np.testing.assert_array_equal(carried, old[name])
    # the new run is one like any other: scanned along the line, evaluated, and resumed
    result = call("scan", "line", "--m", "-1:-0.6:3", "-n", 128, "--json")
    points = json.loads(result.stdout)["points"]
    for point in points:
        found, exact = point["log_z"], point["exact"]["log_z"]
        assert abs(found["value"] - exact) < 5 * found["stderr"]
    other = small_run(Path("other"), 0.1, shape=(4,), couplings={"m": -1.0, "lam": 0.9})
    assert "does not go on from" in refused("transfer", other.path, "line", "--resume")
    again = call("transfer", source.path, "line", "--resume")
    assert again.exit_code == 0 and "is finished" in again.stderr
    # its flow stays as it is, and leads no further where it leads already
    assert "can't be trained on" in refused("transfer", "line", "new", "--sites", 6)
    assert "give a wider one" in refused("transfer", "line", "new")


def test_a_flow_by_least_squares_goes_to_other_couplings_alone():
    """Without its path, which nothing needs any more."""
    couplings = {"m": -1.0, **SINGLE_WELL}
    run = Run.create("solved", Config("phi4", (2, 2), couplings, method="least-squares"))
    params = jax.tree.map(lambda x: np.asarray(x, np.float32), build(run.config).init(KEY))
    checkpoint.save(run.path / "checkpoint.npz", {"params": params, "step": run.config.steps})
    run.finish()
    result = call("transfer", "solved", "line", "--m", "-1:-0.6", *FEW)
    assert result.exit_code == 0, result.output
    assert Run.open("line").config.source_config == run.config
    for more in (("--shape", "4x4"), ("--m", "-0.5", "--objective", "deformation")):
        message = refused("transfer", "solved", "other", *more)
        assert "train a new run there" in message
        assert not Path("other").exists()


def test_an_objective_without_a_path_does_not_go_on_with_a_learned_one():
    old = Config("phi4", (4,), {"m": (0.2, 0.3)}, interpolation="learned")
    new = Config("phi4", (4,), {"m": (0.2, 0.5)}, objective="reverse-kl")
    with pytest.raises(LatticeFlowsError) as caught:
        transferred(Params((), ()), old, new)
    assert str(caught.value) == (
        'the flow was trained with `interpolation="learned"`, which `objective="reverse-kl"` '
        'has no place for: use `objective="deformation"`'
    )


def test_a_run_is_trained_on_on_another_lattice(source):
    result = call("transfer", source.path, "large", "--sites", 6, *FEW[:4], "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["shape"] == [6] and summary["finished"]
    assert 0 < summary["before"][0]["ess"] <= 1
    config = Run.open("large").config
    assert (config.objective, config.source) == ("deformation", None)
    kept = ("field", "base", "width", "ode_steps", "couplings")
    assert all(getattr(config, name) == getattr(source.config, name) for name in kept)


@pytest.mark.parametrize(
    "more",
    [
        ("--m", "-1:-0.6", *FEW[:-2]),
        pytest.param(("--sites", 6, *FEW[:4]), marks=pytest.mark.slow),
        pytest.param(("--sites", 6, "--x64", *FEW[:4]), marks=pytest.mark.slow),
    ],
)
def test_what_is_taken_over_is_kept_before_anything_is_compiled(source, plain, monkeypatch, more):
    """Stopped before its first state and carried on, a transfer ends in the same bytes."""
    source = plain if "--m" in more else source

    def stop(*_):
        raise Interrupted

    with jax.enable_x64("--x64" in more):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "init", stop)
            result = call("transfer", source.path, "new", *more)
        assert result.exit_code == 75 and "--resume" in result.stderr
        assert not Run.open("new").has_checkpoint
        if "--m" in more:
            start = Path("new/start.npz").rename("elsewhere")
            assert "has lost what it takes over" in call("train", "new", "--resume").stderr
            start.rename("new/start.npz")
        resumed = ["train", "new"] if "--m" in more else ["transfer", source.path, "new"]
        assert call(*resumed, "--resume").exit_code == 0
        whole = call("transfer", source.path, "whole", *more)
    assert "before training: ESS" in whole.stderr
    assert "restarts" not in Run.open("whole").provenance()
    for name in ("checkpoint.npz", "history.jsonl"):
        assert Path("new", name).read_bytes() == Path("whole", name).read_bytes()


def test_bad_input_is_refused_in_one_line(source, tmp_path):
    run = source.path
    assert "does not exist" in refused("transfer", "nowhere", "new", "--m", "0:1")
    assert "give one, --m LOW:HIGH" in refused("transfer", run, "new", "--m", -0.7)
    assert "give one, --m LOW:HIGH" in refused("transfer", run, "new")
    assert "transport goes between couplings alone" in refused(
        "transfer", run, "new", "--m", "-1:0", "--sites", 6, "--objective", "transport"
    )
    for itself in (run, run / ".." / run.name, run / "new"):
        message = refused("transfer", run, itself, "--m", "-1:0", "--overwrite", code=2)
        assert "RUN itself" in message and Run.open(run).config == source.config
    assert "m a range that holds both" in refused("transfer", run, "new", "--m", "-0.5:0")
    assert "has no coupling" in refused("transfer", run, "new", "--mass", "1:2", code=2)
    assert "own field, base and path" in refused(
        "transfer", run, "new", "--m", "-1:0", "--field", "hollow"
    )
    taught = ("transfer", run, "new", "--objective", "trade", "--boundary", "reverse-kl")
    assert "lam a range that holds both" in refused(*taught, "--m", "-1:0", "--lam", 0.3)
    assert "number of dimensions" in refused("transfer", run, "new", "--shape", "3x3")
    assert "width 4, not 8" in refused("transfer", run, "new", "--sites", 6, "--width", 8)
    assert "transfer RUN NEW_RUN" in refused(
        "train", "new", "--theory", "phi4", "--sites", 4, "--objective", "transport"
    )
    assert "not both" in refused("transfer", run, "new", "--resume", "--overwrite", code=2)
    assert not Path("new").exists()
    unfinished = tmp_path / "unfinished"
    Run.create(unfinished, source.config)
    assert "not trained to its end" in refused("transfer", unfinished, "new", "--m", "-1:0")
    assert "holds a run already" in refused("transfer", run, unfinished, "--m", "-1:0")


SIX = Config("gmm-6", couplings={"beta": 0.5}, points="stretched")
TAUGHT = _config(SIX, {"objective": "trade"}, {"beta": Values((0.2, 1.0), True)})


@pytest.mark.parametrize(
    ("old", "typed"),
    [
        (SIX, {"objective": "reverse-kl"}),  # has no points
        (TAUGHT, {"objective": "deformation"}),  # goes on from no record, and has no boundary
        (TAUGHT, {"objective": "reverse-kl"}),
        (
            Config("phi4", (4,), points="box", half_box=3.0),
            {"objective": "deformation", "points": "mixed"},
        ),
        (Config("phi4", (4,), {"m": (0, 1)}, curriculum=0.5), {"objective": "deformation"}),
    ],
)
def test_settings_of_the_old_run_that_act_no_more_are_dropped(old, typed):
    given = {} if old.theory == "gmm-6" else {"m": Values((0.5,))}
    new = _config(old, typed, given)
    assert new.source is None and typed.items() <= dataclasses.asdict(new).items()
    assert (new.field, new.base, new.width) == (old.field, old.base, old.width)


def test_a_typed_setting_that_does_not_act_is_refused():
    with pytest.raises(LatticeFlowsError, match="`points` acts with"):
        _config(SIX, {"objective": "reverse-kl", "points": "box"}, {})
