"""Datasets come back as they were, and are refused with one line when they can't be read."""

import json
import os
import resource
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray
from datasets import refused, variables, write

from lattice_flows.io import netcdf as files
from lattice_flows.io.netcdf import (
    Variable,
    read_dataset,
    write_dataset,
)

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


@pytest.mark.parametrize("shape", [(0,), (5, 0), (0, 5)])
def test_arrays_of_nothing(tmp_path, shape):
    path = tmp_path / "a.nc"
    axes = tuple(f"axis_{k}" for k in range(len(shape)))
    write_dataset(path, "scan", {"x": Variable(axes, np.empty(shape), "x")}, title="", config={})
    assert read_dataset(path)["x"].shape == shape


@pytest.mark.parametrize("name", [b"\xff.nc", "φ⁴.nc".encode()])
def test_names_that_are_not_text(tmp_path, name, monkeypatch):
    path = tmp_path / os.fsdecode(name)
    monkeypatch.setattr(sys, "argv", ["lattice-flows", "-o", str(path)])
    provenance = {"run": str(path), "φ": "λ"}
    write(path, attributes={"lf_provenance": provenance, "φ": "λ"})
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    dataset = read_dataset(path, lazy=["phi2"])
    assert np.array_equal(dataset["phi2"], np.arange(5)) and dataset.attributes["φ"] == "λ"
    assert dataset.json("lf_provenance") == provenance
    assert "lattice-flows -o" in dataset.attributes["history"]


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


class Steps:
    """Numbers that are made as they are asked for."""

    def __init__(self, *shape):
        self.shape, self.dtype, self.largest = shape, np.dtype(float), 0

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        rows = np.arange(self.shape[0], dtype=float)[index[0]]
        piece = np.broadcast_to(rows[(...,) + (None,) * (len(self.shape) - 1)],
                                (len(rows), *self.shape[1:]))  # fmt: skip
        piece = piece[(slice(None), *index[1:])]
        self.largest = max(self.largest, piece.nbytes)
        return piece


@pytest.mark.parametrize("shape", [(200_000, 16), (3, 90_000, 16), (2, 3, 40_000, 4)])
def test_large_arrays_go_to_the_disk_in_pieces_and_stay_there(tmp_path, shape):
    path, source = tmp_path / "a.nc", Steps(*shape)
    axes = tuple(f"axis_{k}" for k in range(len(shape)))
    write_dataset(path, "ensemble", {"x": Variable(axes, source, "x")}, title="", config={})
    assert source.largest <= 2**23
    with netCDF4.Dataset(path) as file:
        assert file["x"].filters()["fletcher32"]
        assert np.prod(file["x"].chunking()) * 8 <= 2**20
    stored = read_dataset(path, lazy=("x",))["x"]
    assert isinstance(stored, files.StoredArray)
    assert (stored.shape, stored.dtype, len(stored)) == (shape, float, shape[0])
    expected = np.broadcast_to(
        np.arange(shape[0], dtype=float).reshape(-1, *[1] * (len(shape) - 1)), shape
    )
    np.testing.assert_array_equal(np.asarray(stored), expected)
    np.testing.assert_array_equal(stored[1:3], expected[1:3])
    np.testing.assert_array_equal(stored[-1], expected[-1])


def test_a_stored_array_is_that_of_the_file_that_was_read(tmp_path):
    path = tmp_path / "a.nc"
    write_dataset(path, "ensemble", {"x": Variable(("n",), np.ones(9), "x")}, title="", config={})
    stored = read_dataset(path, lazy=("x",))["x"]
    written = Variable(("n",), stored, "x")  # to the very file that it is in
    write_dataset(path, "ensemble", {"x": written}, title="", config={})
    write_dataset(path, "ensemble", {"x": Variable(("n",), np.zeros(9), "x")}, title="", config={})
    np.testing.assert_array_equal(stored, np.ones(9))
    np.testing.assert_array_equal(read_dataset(path)["x"], np.zeros(9))


def test_a_source_that_fails_leaves_nothing(tmp_path):
    class Broken(Steps):
        def __getitem__(self, index):
            raise RuntimeError("the flow diverged")

    stored = {"x": Variable(("a", "b"), Broken(100, 2), "x")}
    with pytest.raises(RuntimeError, match="the flow diverged"):
        write_dataset(tmp_path / "a.nc", "ensemble", stored, title="", config={})
    assert os.listdir(tmp_path) == []


def test_trouble_that_hdf5_does_not_explain_is_one_line(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr(files, "store", fail)
    with refused("cannot write .*NetCDF: HDF error"):
        write(tmp_path / "a.nc")
    assert os.listdir(tmp_path) == []


def test_a_file_that_memory_does_not_hold_is_not_called_foreign(tmp_path, monkeypatch):
    def fail(*arguments):
        raise MemoryError

    write(tmp_path / "a.nc")
    monkeypatch.setattr(files, "_decode_variable", fail)
    with refused("a.nc does not fit in memory"):
        read_dataset(tmp_path / "a.nc")


@pytest.mark.parametrize("size", [5_000, 300_000, 20_000_000])
def test_a_disk_that_fills_up_in_the_middle_is_named(tmp_path, size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    stored = {"x": Variable(("a", "b"), Steps(200_000, 16), "x")}
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with refused("File too large.*free some space"):
            write_dataset(tmp_path / "a.nc", "ensemble", stored, title="", config={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_other_programs_may_append(tmp_path, caplog):
    """The seal goes with the change, and reading says so."""
    write(tmp_path / "a.nc")
    assert read_dataset(tmp_path / "a.nc").sealed and not caplog.records
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file.comment = "seen"
        file.createVariable("extra", "f8", ("coupling_point",))[:] = 1
    dataset = read_dataset(tmp_path / "a.nc")
    assert dataset.attributes["comment"] == "seen" and dataset["extra"].sum() == 5
    assert not dataset.sealed and "changed by another program" in caplog.text


def test_a_slice_that_xarray_saves_opens_with_a_note(tmp_path, caplog):
    write(tmp_path / "a.nc")
    with xarray.open_dataset(tmp_path / "a.nc") as whole:
        whole.isel(coupling_point=slice(1, 3)).to_netcdf(tmp_path / "b.nc", engine="netcdf4")
    np.testing.assert_array_equal(read_dataset(tmp_path / "b.nc")["phi2"], [1, 2])
    (record,) = caplog.records
    assert "changed by another program" in record.getMessage()


def test_a_file_of_format_1_opens_with_a_note(caplog):
    old = Path(__file__).parent / "data" / "ensemble_flow_v1.nc"
    assert read_dataset(old).attributes["lf_format_version"] == 1
    (record,) = caplog.records
    assert "from before files were sealed" in record.getMessage()


def test_groups_keep_apart_what_has_dimensions_of_its_own(tmp_path):
    stored = {
        "a": Variable(("x",), np.arange(3), "a"),
        "b": Variable(("y",), np.arange(4), "b", group="apart"),
    }
    write_dataset(tmp_path / "a.nc", "scan", stored, title="", config={})
    dataset = read_dataset(tmp_path / "a.nc")
    assert dataset.variables["b"].group == "apart" and len(dataset["b"]) == 4
    with xarray.open_dataset(tmp_path / "a.nc") as top:
        assert set(top.variables) == {"a"} and dict(top.sizes) == {"x": 3}
    with xarray.open_dataset(tmp_path / "a.nc", group="apart") as apart:
        assert set(apart.variables) == {"b"}


def test_variables_name_their_coordinates(tmp_path):
    stored = {
        "m": Variable(("p",), np.arange(3.0), "coupling m", coordinate=True),
        "lam": Variable((), np.array(2.0), "coupling lam", coordinate=True),
        "a": Variable(("p",), np.arange(3), "a"),
        "whole": Variable((), np.array(1), "of none of them"),
    }
    write_dataset(tmp_path / "a.nc", "scan", stored, title="", config={})
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert file["a"].coordinates == "m lam" and file["whole"].coordinates == "lam"
        assert "coordinates" not in file["m"].ncattrs()
    with xarray.open_dataset(tmp_path / "a.nc") as dataset:
        assert set(dataset.coords) == {"m", "lam"}


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
