"""Files are written whole or not at all."""

import errno
import os
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import put, refused, write

from lattice_flows.io import atomic
from lattice_flows.io.netcdf import (
    atomic_write,
    refuse_existing,
)


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write(path, put("old"))
    atomic_write(str(path), put("new"))
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_files_have_the_permissions_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a.txt", put(""))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
def test_a_writer_that_fails_leaves_the_old_file(tmp_path, failure):
    path = tmp_path / "a.txt"
    atomic_write(path, put("old"))

    def fail(temporary):
        temporary.write_text("half")
        raise failure

    with pytest.raises(failure):
        atomic_write(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "No space left.*free some space"), (errno.EACCES, "Permission denied")],
)
@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_failing_system_call_is_one_line(tmp_path, monkeypatch, code, message, step):
    path = tmp_path / "a.txt"
    atomic_write(path, put("old"))

    def fail(*arguments, **keywords):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, step, fail)
        with refused(f"cannot write .*a.txt: {message}"):
            atomic_write(path, put("new"))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_leaves_the_old_dataset(tmp_path):
    """A limit on file sizes: the only full disk that a test can have for itself, root or not."""
    path = tmp_path / "scan.nc"
    write(path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with refused("File too large.*free some space"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["scan.nc"]


def test_killed_in_the_middle_the_old_file_stays_and_the_rest_is_swept_up_later(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write(path, put("old"))
    program = f"""
import os, signal
from lattice_flows.io.netcdf import atomic_write
def writer(path):
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
atomic_write({str(path)!r}, writer)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60)
    assert done.returncode == -9
    assert path.read_text() == "old"
    (left,) = set(os.listdir(tmp_path)) - {"a.txt"}
    atomic_write(path, put("new"))
    assert left in os.listdir(tmp_path)  # it might belong to a job that still runs
    os.utime(tmp_path / left, (time.time() - 7200,) * 2)
    other = tmp_path / ".b.0123456789ab.part.txt"
    other.write_text("another file's")
    os.utime(other, (time.time() - 7200,) * 2)
    atomic_write(path, put("newer"))
    assert set(os.listdir(tmp_path)) == {"a.txt", other.name}


def test_a_link_is_kept_and_its_file_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "real" / "a.txt")
    atomic_write(tmp_path / "link.txt", put("new"))
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path / "real") == ["a.txt"]


@pytest.mark.parametrize("check", [refuse_existing, lambda path: atomic_write(path, put(""))])
def test_places_that_take_no_file(tmp_path, check):
    with refused("is a directory"):
        check(tmp_path)
    with refused("not a regular file"):
        check("/dev/full")
    with refused("is not a directory: make it first"):
        check(tmp_path / "missing" / "a.txt")
    (tmp_path / "file").write_text("")
    with refused("is not a directory"):
        check(tmp_path / "file" / "a.txt")
    assert Path("/dev/full").is_char_device()


def test_an_unwritable_directory_is_told_before_the_work_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.os, "access", lambda path, mode: False)
    with refused("is not writable"):
        refuse_existing(tmp_path / "a.txt")


def test_a_directory_that_even_root_can_not_write(tmp_path):
    with refused("cannot write|not writable"):
        atomic_write("/proc/self/a.txt", put(""))


def test_existing_output_is_refused_unless_overwrite(tmp_path):
    path = tmp_path / "a.txt"
    refuse_existing(path)
    path.write_text("")
    with refused("exists: give `overwrite=True`"):
        refuse_existing(path)
    refuse_existing(path, overwrite=True)


def test_a_file_that_appears_meanwhile_is_kept_and_the_result_too(tmp_path):
    path = tmp_path / "out.nc"
    refuse_existing(path)  # as commands do before they compute

    def late(temporary):
        path.write_text("another process's")
        temporary.write_text("ours")

    with refused("out.nc appeared meanwhile.*the result is in .*out-1.nc"):
        atomic_write(path, late)
    with refused("out-2.nc"):
        atomic_write(path, put("ours again"), overwrite=False)
    assert path.read_text() == "another process's"
    assert (tmp_path / "out-1.nc").read_text() == "ours"
    assert sorted(os.listdir(tmp_path)) == ["out-1.nc", "out-2.nc", "out.nc"]
    refuse_existing(path, overwrite=True)
    atomic_write(path, put("replaced"))
    assert path.read_text() == "replaced"


def test_a_file_of_this_process_may_be_replaced_by_it(tmp_path):
    refuse_existing(tmp_path / "a.txt")
    atomic_write(tmp_path / "a.txt", put("first"))
    atomic_write(tmp_path / "a.txt", put("second"))
    assert (tmp_path / "a.txt").read_text() == "second"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_there_are_no_hard_links(tmp_path, monkeypatch, code):
    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, "link", fail)
    atomic_write(tmp_path / "a.txt", put("first"), overwrite=False)
    with refused("appeared meanwhile"):
        atomic_write(tmp_path / "a.txt", put("second"), overwrite=False)
    assert (tmp_path / "a.txt").read_text() == "first"
    assert (tmp_path / "a-1.txt").read_text() == "second"


def test_of_many_processes_each_keeps_its_result(tmp_path):
    """All find the name free, then write at the same time."""
    program = """
import sys
from lattice_flows.io.atomic import atomic_write, refuse_existing
refuse_existing(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
atomic_write(sys.argv[1], lambda path: path.write_text(sys.argv[2]))
"""
    argv = [sys.executable, "-c", program, str(tmp_path / "a.txt")]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([*argv, str(i)], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for i in range(4)
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    codes = []
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=60)
        codes.append(process.returncode)
    assert sorted(codes) == [0, 1, 1, 1]
    kept = {file.read_text() for file in tmp_path.iterdir()}
    assert kept == {"0", "1", "2", "3"}
