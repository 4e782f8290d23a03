"""Where the file system has no flock, a file says who works in a run directory."""

import errno
import json
import os
import subprocess
import sys

import pytest

from lattice_flows.io import lock as lock_module
from lattice_flows.io.integrity import sealed_json
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run, lock
from theories.errors import LatticeFlowsError

JOBS = ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "PBS_JOBID", "JOB_ID")


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def path(request, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(lock_module.fcntl, "flock", fail)
    for name in JOBS:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "run"


def owner(path, **changes):
    """A lock file of this process, but for the changes."""
    path.mkdir(exist_ok=True)
    (path / "lock.owner").write_text(sealed_json(lock_module._me() | changes))


def refusal(path):
    with pytest.raises(LatticeFlowsError) as error, lock(path):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_holds_it_and_a_second_is_refused(path):
    with lock(path):
        assert f"in use by another process (pid {os.getpid()}" in refusal(path)
        Run.create(path, Config(theory="phi4", shape=(4,)))  # the lock is no foreign file
    assert not (path / "lock.owner").exists()
    with lock(path):
        pass


def test_what_a_dead_process_left_is_taken_over(path):
    owner(path, pid=gone(), started="1")
    with lock(path):
        assert json.loads((path / "lock.owner").read_text())["pid"] == os.getpid()
    assert os.listdir(path) == ["lock"]


def test_a_number_that_a_new_process_has_is_not_the_old_one(path):
    owner(path, started="1")
    with lock(path):
        pass


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"boot": "another"}])
def test_another_machine_is_not_judged_from_here(path, other):
    owner(path, pid=gone(), started="1", **other)
    message = refusal(path)
    assert "in use" in message and f"if it is gone, remove {path / 'lock.owner'}" in message


def test_a_job_that_the_scheduler_started_again_takes_its_run_over(path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    owner(path, host="elsewhere")
    assert "job 17" in refusal(path)  # another task of the same job
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with lock(path):
        pass
    owner(path, host="elsewhere", job={"id": "18", "restarts": 0})
    assert "job 18" in refusal(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_a_lock_file_that_says_nothing_is_refused(path, text):
    path.mkdir()
    (path / "lock.owner").write_text(text)
    assert "remove" in refusal(path)


@pytest.mark.parametrize(("key", "value"), [("pid", 1), ("pid", "x"), ("job", {}), ("job", [1])])
def test_a_damaged_lock_file_is_not_taken_for_that_of_a_dead_process(path, key, value):
    path.mkdir()
    record = json.loads(sealed_json(lock_module._me()))
    (path / "lock.owner").write_text(json.dumps(record | {key: value}))
    assert "remove" in refusal(path)


def test_of_two_that_find_a_dead_owner_the_second_leaves_the_first_alone(path, monkeypatch):
    """The first takes over between the second's look and its move."""
    owner(path, pid=gone(), started="1")
    rename, living = os.rename, lock_module._me()

    def late(source, target):
        (path / "lock.owner").write_text(sealed_json(living))
        rename(source, target)

    monkeypatch.setattr(lock_module.os, "rename", late)
    assert "in use" in refusal(path)
    assert (path / "lock.owner").read_text() == sealed_json(living)
