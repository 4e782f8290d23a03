"""`info` tells what a file or a run is, and whether it is intact."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray
from command_line import call, refused
from test_flips import WRITERS, ensemble, results

from lattice_flows.ensembles.results_file import save_results
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run

DATA = Path(__file__).parents[1] / "data"
STATE = {"step": np.int32(20)}


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def told(path):
    return json.loads(call("info", path, "--json").stdout)


def damage(path):
    """What is said of a damaged file, which is described as well as may be."""
    result = call("info", path, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1 and found["intact"] is False
    assert result.stderr == f"Error: {found['damage'][0]}\n"
    return result.stderr


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file(kind):
    WRITERS[kind](Path("a.nc"))
    found = told("a.nc")
    assert found["kind"] == kind and found["intact"] is True and found["damage"] == []
    assert found["versions"]["numpy"] == np.__version__ and found["running"] == {}
    assert re.search(rf"^kind +{kind}$", call("info", "a.nc").stdout, re.MULTILINE)
    whole = bytearray(Path("a.nc").read_bytes())
    whole[len(whole) // 2] ^= 8
    Path("a.nc").write_bytes(whole)
    assert "a.nc is damaged: its digest differs" in damage("a.nc")


def test_theory_couplings_sizes_and_what_failed():
    bad = [replace(r, measurement=replace(r.measurement, failed=("overlap",))) for r in results()]
    save_results("scan.nc", "scan", bad)
    found = told("scan.nc")
    assert (found["theory"], found["shape"]) == ("phi4", [4])
    assert found["couplings"]["m"] == [0.25, 0.5]
    assert found["sizes"] == {"coupling_point": 2}
    assert found["reliable"] is False and found["unreliable_points"] == 2
    with xarray.open_dataset("scan.nc") as scan:
        scan.isel(coupling_point=[1]).to_netcdf("part.nc")
    part = json.loads(call("info", "part.nc", "--json").stdout)
    assert part["couplings"]["m"] == 0.5 and part["sizes"] == {"coupling_point": 1}
    ensemble(512).save("draws.nc")
    assert told("draws.nc")["sizes"]["draw"] == 512
    assert told("draws.nc")["couplings"]["m"] == 0.5


def test_a_file_of_format_1_can_not_be_checked():
    path = shutil.copy(DATA / "reproduce_table1.nc", "old.nc")
    result = call("info", path)
    assert result.exit_code == 0 and "not known: it has no digest" in result.stdout
    assert "note: old.nc is from before files were sealed" in result.stderr


def test_runs():
    run = Run.create("run", Config(theory="phi4", shape=(4,), couplings={"m": (0.25, 1.0)}))
    found = told("run")
    assert (found["kind"], found["intact"], found["done"]) == ("run", True, 0)
    run.append({"step": 20, "loss": 0.5})
    run.save(STATE)
    run.note_restart()
    found = told("run")
    assert (found["done"], found["steps"], found["finished"]) == (20, run.config.steps, False)
    assert found["restarts"] == 1 and found["last"] == {"step": 20, "loss": 0.5}
    assert found["couplings"]["m"] == [0.25, 1.0]
    run.finish()
    assert told("run")["finished"] is True
    with (run.path / "history.jsonl").open("a") as file:
        file.write("\0\0\0\n")
    assert "history.jsonl: 1 lines damaged or cut short" in damage("run")


def test_what_is_nothing_of_ours():
    assert "does not exist" in refused("info", "none.nc")
    Path("text.nc").write_text("a text")
    assert "not a netCDF file" in refused("info", "text.nc")
    Path("folder").mkdir()
    assert "not a run directory" in refused("info", "folder")
