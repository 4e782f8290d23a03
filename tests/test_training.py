"""Training: it learns, it carries on where it stopped, and it survives what goes wrong."""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import double

from lattice_flows.flows.symmetry import symmetric_action
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.training import trainer as training
from lattice_flows.training.objectives import OBJECTIVES
from lattice_flows.training.problem import Problem
from lattice_flows.training.trainer import CHUNK, State, Trainer, train
from theories import LatticeFlowsError, TransferMatrix


@pytest.fixture(autouse=True)
def standard_promotion():
    """optax's schedules mix integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True)
def asked_once_a_chunk(monkeypatch):
    """Whether to stop, however long the steps take."""
    monkeypatch.setattr(training, "_ASKED_EVERY", float("inf"))


@functools.cache
def trainer_for(text: str, objective: type) -> Trainer:
    return Trainer(Config.from_json(text))


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    """A training that goes on finds its programs compiled; a trainer has no state of its own."""
    monkeypatch.setattr(
        training, "trainer_for", lambda c: trainer_for(c.to_json(), OBJECTIVES[c.objective])
    )


def never() -> bool:
    return False


def silent(step, metrics) -> None:
    pass


def go(run: Run, *, resume: bool = False, report=silent, interrupted=never) -> None:
    train(run, resume=resume, report=report, interrupted=interrupted)


def stop_at(chunk: int):
    """Interrupted when asked for the (chunk+1)-th time."""
    asked = iter(range(1000))
    return lambda: next(asked) >= chunk


def content(run: Run) -> tuple[bytes, bytes]:
    return (run.path / "checkpoint.npz").read_bytes(), (run.path / "history.jsonl").read_bytes()


def saved(run: Run) -> State:
    trainer = training.trainer_for(run.config)
    return State(**run.load(jax.eval_shape(trainer.init, jax.random.key(0))._asdict()))


# a real training, of a small flow


LEARNING = Config(
    theory="phi4",
    shape=(4,),
    couplings={"m": (0.25, 1.0), "alpha": 0.05},
    field="convolutional",
    base="ultralocal",
    steps=3 * CHUNK,
    batch=64,
    width=6,
    ode_steps=6,
    learning_rate=0.01,
    x64=True,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = Run.create(tmp_path_factory.mktemp("trained") / "run", LEARNING)
    with jax.numpy_dtype_promotion("standard"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            training, "trainer_for", lambda c: trainer_for(c.to_json(), OBJECTIVES[c.objective])
        )
        go(run)
    return run


def test_training_brings_the_flow_closer_to_the_theory(trained):
    """KL(q_s‖p_s) = E[log q + S_s] + log Z inside the range, by far more than its errors."""
    trainer = training.trainer_for(LEARNING)
    theory = LEARNING.make_theory()
    couplings = theory.from_values(m=0.6, alpha=0.05)
    log_z = TransferMatrix(theory, couplings).log_z

    @jax.jit
    def log_ratio(params, key):
        arrays = double(couplings)
        phi, log_q = trainer.model.flow.sample(params, key, arrays, 512)
        return log_q + jax.vmap(lambda x: symmetric_action(theory, x, arrays))(phi)

    states = [trainer.init(jax.random.key(LEARNING.seed)), saved(trained)]
    kl = [np.asarray(log_ratio(s.params, jax.random.key(3))) + log_z for s in states]
    assert kl[1].mean() > -5 * kl[1].std() / np.sqrt(512)
    assert kl[1].mean() + 5 * kl[1].std() / np.sqrt(512) < kl[0].mean()
    assert kl[1].mean() < 0.6 * kl[0].mean()


def test_the_history_has_a_record_for_each_chunk(trained):
    history = trained.history()
    assert [r["step"] for r in history] == [CHUNK, 2 * CHUNK, 3 * CHUNK]
    wanted = {"step", "loss", "residual", "acceptance", "gradient_norm"}
    assert all(wanted <= r.keys() for r in history)
    assert history[-1]["loss"] < history[0]["loss"]
    assert int(saved(trained).step) == LEARNING.steps and int(saved(trained).skipped) == 0


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_an_interrupted_training_ends_in_the_same_bytes(trained, tmp_path, chunk):
    run = Run.create(tmp_path / "run", LEARNING)
    with pytest.raises(Interrupted):
        go(run, interrupted=stop_at(chunk))
    assert int(saved(run).step) == chunk * CHUNK
    assert len(run.history()) == chunk
    go(run, resume=True)
    assert content(run) == content(trained)


def test_interrupted_at_every_chunk(trained, tmp_path):
    run = Run.create(tmp_path / "run", LEARNING)
    stops = 0
    while True:
        try:
            go(run, resume=True, interrupted=stop_at(1))
            break
        except Interrupted:
            stops += 1
    assert stops == 2
    assert content(run) == content(trained)


def test_without_resume_it_starts_again(trained, tmp_path):
    run = Run.create(tmp_path / "run", LEARNING)
    with pytest.raises(Interrupted):
        go(run, interrupted=stop_at(2))
    go(run)
    assert content(run) == content(trained)


def test_the_base_and_the_seed_are_kept(trained):
    """The optimiser moves the field alone; another seed is another training."""
    trainer = training.trainer_for(LEARNING)
    first, other = (trainer.init(jax.random.key(seed)) for seed in (LEARNING.seed, 1))
    field = saved(trained).params.field
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), first.params.field, field)
    assert min(jax.tree.leaves(moved)) > 0
    weights = [
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(state.params.field)])
        for state in (first, other)
    ]
    assert not np.array_equal(*weights)
    assert not np.array_equal(first.objective.phi, other.objective.phi)


# what goes wrong, with a loss that costs nothing


@dataclasses.dataclass(frozen=True)
class Bumpy:
    """Σ w², its value or its gradient NaN in some steps; the state counts the steps taken."""

    problem: Problem

    def init(self, params, key):
        return jnp.zeros((), jnp.int32)

    def bad(self, key, opened):
        return jax.random.uniform(key, (2,)) < 0.2  # of the value, of the gradient

    def loss(self, params, state, key, opened):
        bad_value, bad_slope = self.bad(key, opened)
        total = sum(jnp.sum(x**2) for x in jax.tree.leaves(params.field))
        # √0 has an infinite slope, 0·∞ is NaN: a finite value with a NaN gradient
        edge = jnp.sqrt(jnp.where(bad_slope, 0 * total, 1.0))
        value = jnp.where(bad_value, jnp.nan, total + edge)
        return value, (state + 1, {"opened": opened})


class Doomed(Bumpy):
    """Never finite again once the curriculum is 55 % open."""

    def bad(self, key, opened):
        return jnp.stack([opened > 0.55, opened > 0.55])


class Hopeless(Bumpy):
    def bad(self, key, opened):
        return jnp.ones(2, bool)


class Smooth(Bumpy):
    def bad(self, key, opened):
        return jnp.zeros(2, bool)


RANGE = {"m": (0.25, 1.0)}
"""A curriculum is of use with a range alone."""


def cheap(tmp_path, monkeypatch, objective: type, **values) -> Run:
    monkeypatch.setitem(OBJECTIVES, "reverse-kl", objective)
    settings = {"objective": "reverse-kl", "field": "convolutional", "base": "ultralocal"}
    settings |= {"width": 2, "x64": True, "steps": 60, "learning_rate": 0.01}
    return Run.create(tmp_path / "run", Config("phi4", (2,), **(settings | values)))


def test_steps_that_are_not_finite_are_left_out(tmp_path, monkeypatch):
    run = cheap(tmp_path, monkeypatch, Bumpy)
    go(run)
    state = saved(run)
    keys = [jax.random.fold_in(state.key, step) for step in range(60)]
    good = [not np.any(jax.random.uniform(key, (2,)) < 0.2) for key in keys]
    assert 25 < sum(good) < 55
    assert int(state.step) == 60 and int(state.objective) == sum(good)
    counts = [x for x in jax.tree.leaves(state.optimiser) if x.dtype == jnp.int32]
    assert counts and all(int(count) == sum(good) for count in counts)
    trailing = next(i for i, x in enumerate(reversed(good)) if x)
    assert int(state.skipped) == trailing
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
    json.loads((run.path / "history.jsonl").read_text().splitlines()[0], parse_constant=pytest.fail)


def test_a_training_that_diverges_ends_with_the_last_good_checkpoint(tmp_path, monkeypatch):
    run = cheap(tmp_path, monkeypatch, Doomed, steps=400, curriculum=1.0, couplings=RANGE)
    steps = []
    with pytest.raises(LatticeFlowsError, match=r"diverged at step 280.*`learning_rate`") as caught:
        go(run, report=lambda step, metrics: steps.append(step))
    assert "\n" not in str(caught.value)
    assert steps[-1] == 260  # 221 to 270 were not finite: told at the end of their chunk
    state = saved(run)
    assert int(state.step) == 200 and int(state.objective) == 200 and int(state.skipped) == 0
    before = content(run)[0]
    with pytest.raises(LatticeFlowsError, match="diverged at step 280"):
        go(run, resume=True)
    assert content(run)[0] == before


def test_a_short_training_without_a_single_step_is_none(tmp_path, monkeypatch):
    run = cheap(tmp_path, monkeypatch, Hopeless, steps=30)
    with pytest.raises(LatticeFlowsError, match="diverged at step 30"):
        go(run)
    assert not run.finished


def test_the_curriculum_opens_ranges_from_their_low_end(tmp_path, monkeypatch):
    """And a last chunk that is not full is a chunk as well."""
    run = cheap(tmp_path, monkeypatch, Smooth, steps=50, curriculum=0.5, couplings=RANGE)
    go(run)
    opened = {record["step"]: record["opened"] for record in run.history()}
    for a, b in ((0, 20), (20, 40), (40, 50)):
        exact = np.mean(np.clip(np.arange(a, b) / 25, 0.02, 1))
        assert opened[b] == pytest.approx(exact, rel=1e-12)
    assert len(opened) == 3 and int(saved(run).step) == 50


def test_a_directory_that_vanishes_is_one_line(tmp_path, monkeypatch):
    run = cheap(tmp_path, monkeypatch, Smooth)

    def report(step, metrics):
        shutil.rmtree(run.path)

    with pytest.raises(LatticeFlowsError, match="cannot write") as caught:
        go(run, report=report)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    """A limit on the size of files stands in for the full disk."""
    run = cheap(tmp_path, monkeypatch, Smooth, steps=200)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def report(step, metrics):
        if step > 100:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))

    try:
        with pytest.raises(LatticeFlowsError, match="cannot write") as caught:
            go(run, report=report)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value) and caught.value.__cause__.errno == errno.EFBIG
    assert int(saved(run).step) == 100
    assert [p.name for p in run.path.iterdir() if "tmp" in p.name] == []
    go(run, resume=True)
    assert int(saved(run).step) == 200


# parameters that are not finite


def poisoned(run: Run, step: int) -> None:
    """The run's first state, one of its weights NaN, as its checkpoint after `step` steps."""
    state = training.trainer_for(run.config).init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(state.params.field)
    leaves[0] = jnp.full_like(leaves[0], jnp.nan)
    params = state.params._replace(field=jax.tree.unflatten(tree, leaves))
    run.save(state._replace(params=params, step=jnp.asarray(step, jnp.int32))._asdict())


@pytest.mark.parametrize("step", [0, 60])
def test_a_checkpoint_that_is_not_finite_is_no_training(tmp_path, monkeypatch, step):
    run = cheap(tmp_path, monkeypatch, Smooth)
    poisoned(run, step)
    with pytest.raises(LatticeFlowsError, match=r"checkpoint of .* not finite \(field"):
        go(run, resume=True)
    with pytest.raises(LatticeFlowsError, match="not finite"):
        Sampler.load(run)


def test_parameters_that_overflow_end_the_training(tmp_path, monkeypatch):
    run = cheap(tmp_path, monkeypatch, Smooth, learning_rate=1e308)
    with pytest.raises(LatticeFlowsError, match=r"not finite|diverged"):
        go(run)
    assert int(saved(run).step) == 0  # the state before the first step


def test_states_are_saved_by_time(tmp_path, monkeypatch):
    run, steps = cheap(tmp_path, monkeypatch, Smooth), []
    save = Run.save
    monkeypatch.setattr(
        Run, "save", lambda self, tree: (steps.append(int(tree["step"])), save(self, tree))
    )
    train(run, resume=False, report=silent, interrupted=never, save_every=0)
    assert steps == [0, 20, 40, 60]
    steps.clear()
    train(run, resume=False, report=silent, interrupted=never)
    assert steps == [0, 60]


def test_a_chunk_in_parts_is_the_same_chunk(tmp_path, monkeypatch):
    """However many steps are taken at once; and one that is interrupted within is not counted."""
    run = cheap(tmp_path, monkeypatch, Bumpy)
    go(run)
    expected = content(run)
    monkeypatch.setattr(training, "_ASKED_EVERY", 1e-9)
    training.trainer_for(run.config).pace = 1
    other = Run.create(tmp_path / "other", run.config)
    asked = iter([False, False, False, True])  # at the beginning, after one step, two and three
    with pytest.raises(Interrupted):
        go(other, interrupted=asked.__next__)
    assert int(saved(other).step) == 0
    go(other, resume=True)
    assert content(other) == expected
