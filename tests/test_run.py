import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lattice_flows.io import checkpoint
from lattice_flows.io.interrupt import SIGNALS, deferred
from lattice_flows.runs import run as run_module
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run, lock
from theories.errors import LatticeFlowsError

CONFIG = Config(theory="phi4", shape=(4,), couplings={"m": (0.25, 1)}, steps=10)
STATE = {"weights": np.arange(4.0), "step": 3}


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs" / "r", CONFIG)


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(LatticeFlowsError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_opens_as_it_was_made(run):
    opened = Run.open(run.path)
    assert opened.config == CONFIG
    assert not opened.finished and not opened.has_checkpoint and opened.history() == []


def test_provenance_names_versions_and_command(run):
    provenance = run.provenance()
    assert {"python", "jax", "numpy", "lattice-flows"} <= provenance["versions"].keys()
    assert provenance["history"] and provenance["date_created"]
    assert run.version_changes() == []


def test_changed_versions_are_told(run, monkeypatch):
    then = run.provenance()["versions"]["jax"]
    versions = run_module.versions()
    monkeypatch.setattr(run_module, "versions", lambda: versions | {"jax": "99.0"})
    assert run.version_changes() == [f"jax {then} → 99.0"]


# what is no run


def test_an_existing_run_is_kept_unless_overwritten(run):
    run.save(STATE)
    run.append({"step": 1})
    run.finish()
    message = refusal(Run.create, run.path, CONFIG)
    assert "`resume=True`" in message and "`overwrite=True`" in message
    other = Config(theory="double-well", shape=(8,))
    fresh = Run.create(run.path, other, overwrite=True)
    assert Run.open(run.path).config == other
    assert not fresh.has_checkpoint and not fresh.finished and fresh.history() == []


def test_a_directory_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        message = refusal(Run.create, tmp_path, CONFIG, overwrite=overwrite)
        assert "not a run directory" in message and "thesis.tex" in message
    assert "not a run directory" in refusal(lock(tmp_path).__enter__)
    assert "not a run directory" in refusal(Run.open, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_not_a_run_directory(tmp_path):
    (tmp_path / "f").write_text("")
    assert "is a file" in refusal(Run.create, tmp_path / "f", CONFIG)


def test_a_missing_run_is_told_how_to_be_made(tmp_path):
    assert "make it with `train(theory, path=" in refusal(Run.open, tmp_path / "no")


def test_a_run_of_a_newer_version_is_refused(run):
    file = run.path / "config.json"
    file.write_text(file.read_text().replace('_version": 1', '_version": 2'))
    assert "upgrade lattice-flows" in refusal(Run.open, run.path)


def test_a_run_without_checkpoint_says_how_to_get_one(run):
    assert f"`train(..., path='{run.path}', resume=True)`" in refusal(run.load, STATE)


def test_a_disk_that_takes_nothing_is_one_line():
    assert "cannot write" in refusal(Run.create, "/proc/run", CONFIG)
    assert "cannot write" in refusal(lock("/proc/run").__enter__)


# states and history


def test_states_are_kept(run):
    run.save(STATE)
    assert run.load(STATE)["step"] == 3
    np.testing.assert_array_equal(run.load(STATE)["weights"], STATE["weights"])


def test_the_history_is_cut_back_to_the_checkpoint(run):
    for step in range(1, 8):
        run.append({"step": step, "loss": 1 / step})
    whole = (run.path / "history.jsonl").read_bytes()
    with (run.path / "history.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # killed while writing
    assert [r["step"] for r in run.history()] == [*range(1, 8)]
    run.cut_history(4)
    assert [r["step"] for r in run.history()] == [1, 2, 3, 4]
    for step in range(5, 8):
        run.append({"step": step, "loss": 1 / step})
    assert (run.path / "history.jsonl").read_bytes() == whole


def test_a_metric_that_is_not_finite_is_null(run):
    run.append({"step": 1, "loss": float("nan"), "ess": float("inf")})
    assert run.history() == [{"step": 1, "loss": None, "ess": None}]
    json.loads((run.path / "history.jsonl").read_text(), parse_constant=pytest.fail)


# side files

SIDE = ("provenance.json", "history.jsonl", "finished.json")


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"[" * 5000, b'{"step"', b"[1]\n", b"\xff\n"])
@pytest.mark.parametrize("name", SIDE)
def test_a_run_goes_on_without_a_damaged_side_file(run, name, content, caplog):
    for step in (1, 2, 3):
        run.append({"step": step})
    run.save(STATE)
    run.finish()
    file = run.path / name
    if name == "history.jsonl":  # one line among sound ones
        whole = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join([whole[0], content, b"\n", *whole[2:]]))
    else:
        file.write_bytes(content)
    again = Run.open(run.path)
    assert again.load(STATE)["step"] == 3
    steps = [1, 3] if name == "history.jsonl" else [1, 2, 3]
    assert [record["step"] for record in again.history()] == steps
    assert again.finished is (name != "finished.json")
    assert again.provenance() == ({} if name == "provenance.json" else run.provenance())
    again.note_restart()
    again.cut_history(3)
    again.finish()
    assert again.finished and again.provenance()["restarts"]
    assert name in caplog.text
    caplog.clear()
    assert again.history() and not caplog.records  # it is whole again


def test_restarts_are_counted_with_what_changed(run, monkeypatch):
    began = run.provenance()
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    run.note_restart()
    run.note_restart()
    first, second = run.provenance()["restarts"]
    assert first["job"] == {"id": "5", "restarts": 0} and first["versions"] == {}
    assert {"date_created", "machine", "device"} <= second.keys()
    assert {k: v for k, v in run.provenance().items() if k != "restarts"} == began


def test_configuration_and_checkpoint_belong_together(run, tmp_path):
    run.save(STATE)
    other = Run.create(tmp_path / "other", Config(theory="phi4", shape=(4,), seed=1))
    (other.path / "checkpoint.npz").write_bytes((run.path / "checkpoint.npz").read_bytes())
    message = refusal(Run.open(other.path).load, STATE)
    assert "made for another model" in message and "configuration beside it" in message


def test_a_run_of_before_there_were_digests_opens_with_a_note(run, caplog):
    """As version 0.1.0 wrote it."""
    checkpoint.save(run.path / "checkpoint.npz", STATE)
    whole = (run.path / "checkpoint.npz").read_bytes()
    (run.path / "checkpoint.npz").write_bytes(whole[: whole.rindex(b"lattice-flows sha256")])
    (run.path / "config.json").write_text(run.config.to_json())
    (run.path / "provenance.json").write_text(json.dumps({"versions": {}}))
    (run.path / "history.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    again = Run.open(run.path)
    assert again.config == run.config and again.load(STATE)["step"] == 3
    assert [record["step"] for record in again.history()] == [1, 2]
    assert "not sealed" in caplog.text and "without a digest" in caplog.text


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_finished_run_that_can_not_be_written_needs_no_lock(run, monkeypatch, code):
    run.save(STATE)

    def refuse(self, mode="r", *args, original=Path.open, **kwargs):
        if set(mode) & set("wax+"):
            raise OSError(code, os.strerror(code))
        return original(self, mode, *args, **kwargs)

    for finished in (False, True):
        if finished:
            run.finish()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", refuse)
            if not finished:
                assert "cannot write" in refusal(lock(run.path).__enter__)
                continue
            with lock(run.path):
                assert Run.open(run.path).finished


# kills


class Killed(BaseException):
    pass


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_creation_killed_anywhere_can_be_repeated(tmp_path, monkeypatch, overwrite):
    """Fail at the k-th change to the disk, for every k, then create again as a resumed job does."""
    path = tmp_path / "r"
    for k in range(1, 100):
        if overwrite:
            Run.create(path, CONFIG, overwrite=True).save(STATE)
        else:
            subprocess.run(["rm", "-rf", path], check=True)
        changes = 0

        def counted(original, k=k):
            def call(*args, **kwargs):
                nonlocal changes
                changes += 1
                if changes == k:
                    raise Killed
                return original(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in ("replace", "open", "unlink", "mkdir"):
                patch.setattr(os, name, counted(getattr(os, name)))
            try:
                Run.create(path, CONFIG, overwrite=overwrite)
                finished = True
            except Killed:
                finished = False
        if finished:
            break
        if not Run.exists(path):
            assert not Run.create(path, CONFIG).has_checkpoint  # nothing of an older run stays
        assert Run.open(path).config == CONFIG
    assert 3 < k < 99


# one process at a time


def test_a_run_in_use_is_refused_and_its_owner_named(run):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from lattice_flows.runs.run import lock\n"
            "with lock(sys.argv[1]): print('held', flush=True); sys.stdin.read()",
            run.path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        message = refusal(run.lock().__enter__)
        assert "in use by another process" in message and str(holder.pid) in message
        holder.kill()  # a killed owner leaves no lock behind
        holder.wait()
    with run.lock():
        assert "in use" in refusal(lock(run.path).__enter__)
    with run.lock():
        pass


# signals


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_until_it_is_asked_for(number):
    heard: list[str] = []
    before = [signal.getsignal(n) for n in SIGNALS]
    with deferred(heard.append) as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), number)
        assert interrupted()
    assert heard == [signal.Signals(number).name]
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_a_second_ctrl_c_acts_at_once():
    with pytest.raises(KeyboardInterrupt), deferred() as interrupted:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        os.kill(os.getpid(), signal.SIGINT)
