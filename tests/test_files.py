"""Files are written whole or not at all, and refused with one line when they can't be read."""

import errno
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray

from lattice_flows import atomic, files, provenance
from lattice_flows.files import (
    Variable,
    atomic_write,
    estimate_variables,
    read_dataset,
    refuse_existing,
    write_dataset,
)
from theories.errors import LatticeFlowsError


def refused(message):
    """A LatticeFlowsError of one line that contains `message`."""
    return pytest.raises(LatticeFlowsError, match=rf"^[^\n]*{message}[^\n]*$")


def put(text):
    return lambda path: path.write_text(text)


def variables(n=5):
    point = ("coupling_point",)
    return {
        "m": Variable(point, np.linspace(0.25, 1, n), "coupling m"),
        "reliable": Variable(point, np.arange(n) % 2 == 0, "error bars can be believed"),
        "count": Variable((), np.int32(7), "draws", "1", {"comment": "φ⁴"}),
        **estimate_variables("phi2", np.arange(n), np.ones(n), "mean of phi^2", point, np.zeros(n)),
    }


def write(path, **changes):
    arguments = {"title": "a scan of φ⁴", "config": {"theory": "phi4", "shape": [16]}} | changes
    write_dataset(path, "scan", variables(), **arguments)


# --- atomic writes


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
from lattice_flows.files import atomic_write
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
    with refused("exists: give --overwrite"):
        refuse_existing(path)
    refuse_existing(path, overwrite=True)


# --- datasets


def test_a_dataset_comes_back_as_it_was(tmp_path):
    path = tmp_path / "scan.nc"
    write(path, attributes={"nothing": None, "flag": True, "list": [1, None], "number": 1.5})
    dataset = read_dataset(path, "ensemble", "scan")
    for name, variable in variables().items():
        stored = dataset.variables[name]
        assert stored.dimensions == variable.dimensions
        assert (stored.long_name, stored.units) == (variable.long_name, "1")
        np.testing.assert_array_equal(dataset[name], variable.data, strict=name != "count")
    assert dataset["reliable"].dtype == bool
    assert dataset.variables["count"].attributes == {"comment": "φ⁴"}
    assert dataset.json("lf_config") == {"theory": "phi4", "shape": [16]}
    assert dataset.attributes["nothing"] == "null"
    assert dataset.attributes["flag"] == "true"
    assert json.loads(dataset.attributes["list"]) == [1, None]
    assert dataset.attributes["number"] == 1.5
    assert dataset.get("missing") is None
    with refused("scan.nc has no variable 'missing'"):
        dataset["missing"]
    with refused("no readable attribute 'missing'"):
        dataset.json("missing")


def test_xarray_reads_it_with_units_and_linked_errors(tmp_path):
    path = tmp_path / "scan.nc"
    write(path, references="somebody, somewhere")
    with xarray.open_dataset(path) as dataset:
        assert dict(dataset.sizes) == {"coupling_point": 5}
        assert dataset.phi2.attrs["ancillary_variables"] == "phi2_stderr phi2_exact"
        assert all(v.attrs["long_name"] for v in dataset.variables.values())
        assert all("units" in v.attrs or "flag_values" in v.attrs for v in dataset.values())
        assert dataset.reliable.attrs["flag_meanings"] == "false true"
        np.testing.assert_array_equal(dataset.phi2, np.arange(5))
        header = dataset.attrs
    assert header["Conventions"] == "CF-1.11, ACDD-1.3"
    assert header["title"] == "a scan of φ⁴"
    assert header["references"] == "somebody, somewhere"
    assert header["source"].startswith("lattice-flows ")
    assert header["history"].startswith(header["date_created"])
    assert (header["lf_format"], header["lf_format_version"]) == ("scan", files.FORMAT_VERSION)
    assert json.loads(header["lf_config"])["theory"] == "phi4"


def test_the_date_can_be_set_from_outside(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    write(tmp_path / "a.nc")
    assert read_dataset(tmp_path / "a.nc").attributes["date_created"] == "2023-11-14T22:13:20Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with refused("SOURCE_DATE_EPOCH is not a date"):
        write(tmp_path / "b.nc")


def test_every_bit_of_a_number_survives(tmp_path):
    numbers = np.array(
        [0.1, -0.0, 5e-324, 1.7976931348623157e308, np.nan, np.inf, 9.96920996838687e36]
    )
    stored = {"x": Variable(("draw",), numbers, "numbers")}
    write_dataset(tmp_path / "a.nc", "ensemble", stored, title="bits", config={})
    assert read_dataset(tmp_path / "a.nc")["x"].tobytes() == numbers.tobytes()


def test_small_files_are_small(tmp_path):
    write(tmp_path / "a.nc")
    assert (tmp_path / "a.nc").stat().st_size < 20_000


def test_mistakes_of_the_program_are_not_taken_for_those_of_the_user(tmp_path):
    wrong = {"x": Variable(("draw",), np.zeros((2, 2)), "x")}
    with pytest.raises(ValueError, match="2 axes"):
        write_dataset(tmp_path / "a.nc", "ensemble", wrong, title="", config={})
    wrong = {name: Variable(("draw",), np.zeros(n), "x") for n, name in ((2, "a"), (3, "b"))}
    with pytest.raises(ValueError, match="two sizes"):
        write_dataset(tmp_path / "a.nc", "ensemble", wrong, title="", config={})
    assert os.listdir(tmp_path) == []


# --- what can't be read


def test_missing_directory_foreign_and_other_kinds(tmp_path):
    with refused("nothing.nc does not exist"):
        read_dataset(tmp_path / "nothing.nc")
    with refused("is not a file"):
        read_dataset(tmp_path)
    (tmp_path / "text.nc").write_text("not netCDF\n")
    with refused("text.nc is not a netCDF file"):
        read_dataset(tmp_path / "text.nc")
    (tmp_path / "empty.nc").write_bytes(b"")
    with refused("empty.nc is not a netCDF file"):
        read_dataset(tmp_path / "empty.nc")
    write(tmp_path / "scan.nc")
    with refused("scan.nc holds 'scan', but ensemble or observables is needed here"):
        read_dataset(tmp_path / "scan.nc", "ensemble", "observables")


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_netcdf_of_other_programs(tmp_path, kind):
    with netCDF4.Dataset(tmp_path / "a.nc", "w", format=kind) as file:
        file.title = "somebody else's"
    with refused("a.nc was not written by lattice-flows"):
        read_dataset(tmp_path / "a.nc")


def test_newer_versions(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(files, "FORMAT_VERSION", 99)
        write(tmp_path / "a.nc")
    with refused("newer lattice-flows .format 99.*upgrade"):
        read_dataset(tmp_path / "a.nc")


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, share):
    stored = {"x": Variable(("draw",), np.random.default_rng(0).normal(size=50_000), "x")}
    write_dataset(tmp_path / "a.nc", "ensemble", stored, title="", config={})
    content = (tmp_path / "a.nc").read_bytes()
    (tmp_path / "a.nc").write_bytes(content[: int(share * len(content))])
    with refused("a.nc is not a netCDF file, or only a part of one"):
        read_dataset(tmp_path / "a.nc")


# --- provenance


def test_commit_of_a_checkout_and_none_elsewhere(tmp_path, monkeypatch):
    if shutil.which("git") is None:
        pytest.skip("no git here")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "lattice_flows" / "files.py"))
    ask = provenance._commit.__wrapped__
    assert ask() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert ask() is None  # nothing committed yet
    (tmp_path / "a").write_text("1")
    subprocess.run([*git, "add", "a"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    commit = ask()
    assert commit is not None and len(commit) == 12
    (tmp_path / "a").write_text("2")
    assert ask() == commit + "+"
    monkeypatch.setattr(
        provenance.subprocess, "run", lambda *a, **k: (_ for _ in ()).throw(OSError())
    )
    assert ask() is None


def test_provenance_names_the_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lattice-flows", "scan", "a run"])
    assert provenance.provenance()["history"].endswith("Z lattice-flows scan 'a run'")
