"""Reproductions: what the command prints and writes, what it keeps, and what it refuses."""

import json
import re
import sys
import types
from dataclasses import replace

import jax
import netCDF4
import numpy as np
import pytest
import xarray
from click.testing import CliRunner

import theories
from lattice_flows import papers as reproduce
from lattice_flows.figures.plots import save_figure
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.io.netcdf import Variable
from lattice_flows.papers import chains, runs
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.record import Record
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from lattice_flows.scripts.cli import main
from observables import Estimate
from theories import LatticeFlowsError
from theories.teleportation import Teleportation

FILES = ("teleportation.nc", "teleportation.png")


def call(*args: object):
    return CliRunner().invoke(main, ["reproduce", *map(str, args)])


def refused(*args: object, code: int) -> str:
    """The one line that a refused command leaves on stderr."""
    result = call(*args)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)
    return result.stderr


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Directory and JSON of one run of the command that writes everything."""
    directory = tmp_path_factory.mktemp("teleportation")
    nc, png = (directory / name for name in FILES)
    result = call("teleportation", "--json", "-o", nc, "--plot", png)
    assert result.exit_code == 0, result.output
    return directory, json.loads(result.stdout)


def test_json_is_the_table(done):
    _, result = done
    assert result.keys() == {"experiment", "title", "references", "settings", "rows"}
    assert (result["experiment"], result["settings"]) == ("teleportation", {})
    assert "2410.03282" in result["references"]
    assert [row["quantity"][-2:].strip() for row in result["rows"]] == ["1", "5", "10", "15", "50"]
    for row in result["rows"]:
        assert row.keys() == {"quantity", "paper", "ours", "exact"}
        assert row["paper"] is None
        assert row["ours"] == {"value": pytest.approx(row["exact"], rel=1e-10), "stderr": 0.0}


def test_netcdf_is_read_by_xarray(done):
    directory, result = done
    with xarray.open_dataset(directory / FILES[0]) as file:
        assert file.attrs["lf_format"] == "reproduction"
        assert json.loads(file.attrs["lf_config"]) == {"experiment": "teleportation"}
        assert file.attrs["title"] == result["title"]
        assert "2410.03282" in file.attrs["references"]
        assert all("long_name" in variable.attrs for variable in file.variables.values())
        assert list(file["quantity"].values) == [row["quantity"] for row in result["rows"]]
        assert np.all(np.isnan(file["paper"])) and np.all(file["ours_stderr"] == 0)
        np.testing.assert_allclose(file["ours"], file["ours_exact"], rtol=1e-10)
        assert file["squared_norm"].dims == ("distance", "time")
        for m in file["distance"].values:
            path, norm = Teleportation(float(m)), file["squared_norm"].sel(distance=m)
            assert float(norm[-1]) == pytest.approx(path.final_squared_norm(), rel=1e-10)
        path = Teleportation(float(file["snapshot_distance"]))
        x, t = file["position"].values, file["snapshot_time"].values
        np.testing.assert_allclose(file["density"][2], path.density(t[2], x), rtol=1e-10)
        np.testing.assert_allclose(file["velocity"][2], path.velocity(t[2], x), rtol=1e-8)


def test_names_have_no_units(done):
    with netCDF4.Dataset(done[0] / FILES[0]) as file:
        assert "units" not in file["quantity"].ncattrs()
        assert file["ours"].units == "1"


def test_the_figure_is_drawn_again_from_the_file(done):
    directory, _ = done
    again = directory / "again.png"
    result = CliRunner().invoke(main, ["plot", str(directory / FILES[0]), "-o", str(again)])
    assert result.exit_code == 0, result.output
    assert again.read_bytes() == (directory / FILES[1]).read_bytes()


@pytest.mark.parametrize(("option", "name"), [("-o", FILES[0]), ("--plot", FILES[1])])
def test_existing_output_is_refused(done, option, name):
    assert f"{name} exists" in refused("teleportation", option, done[0] / name, code=1)


def test_an_unknown_name_lists_the_known_ones():
    assert ", ".join(reproduce.EXPERIMENTS) in refused("teleport", code=1)
    with pytest.raises(LatticeFlowsError, match=r"choose from .*teleportation"):
        reproduce.find("teleport")


@pytest.mark.parametrize("option", [("--seeds", 2), ("--preset", "quick"), ("--runs", "there")])
def test_an_option_without_use_is_refused(option):
    message = refused("teleportation", *option, code=2)
    assert f"teleportation has no use for {option[0]}: leave it out" in message


@pytest.mark.parametrize("name", reproduce.EXPERIMENTS)
def test_every_experiment_is_where_its_name_says(name):
    experiment = reproduce.find(name)
    assert experiment.name == name
    assert re.search(rf"\n +{name} ", call("--help").stdout)


@pytest.fixture
def trained(monkeypatch):
    """An experiment that would train: adding it takes a module and a line of EXPERIMENTS."""

    def run(settings: Settings):
        with settings.progress("train", 1) as report:
            report(1, {"loss": 0.0})
        ours = Estimate(settings.seeds + settings.seed / 10, 0.25)
        rows = [Row("KL", ours, Estimate(0.5, 0.125)), Row("log Z", ours, exact=1.5)]
        return rows, {"steps": Variable((), np.array(7), settings.preset)}

    module = types.ModuleType("lattice_flows.papers.table_of_a_test")
    vars(module)["EXPERIMENT"] = Experiment(
        "table-of-a-test", "a table", "a paper", run, lambda dataset: None, trains=True
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(reproduce.EXPERIMENTS, "table-of-a-test", "a table")


@pytest.mark.usefixtures("trained")
def test_an_experiment_that_trains_takes_the_options(tmp_path):
    name, path = "table-of-a-test", tmp_path / "table.nc"
    plain = json.loads(call(name, "--json").stdout)
    assert plain["settings"] == {"preset": "quick", "seeds": 1, "seed": 0}
    result = call(name, "--preset", "paper", "--seeds", 3, "--seed", 5, "--json", "-o", path)
    given = json.loads(result.stdout)
    assert given["settings"] == {"preset": "paper", "seeds": 3, "seed": 5}
    kl, log_z = given["rows"]
    assert kl["ours"] == log_z["ours"] == {"value": 3.5, "stderr": 0.25}
    assert (kl["paper"], kl["exact"]) == ({"value": 0.5, "stderr": 0.125}, None)
    assert (log_z["paper"], log_z["exact"]) == (None, 1.5)
    with xarray.open_dataset(path) as file:
        assert json.loads(file.attrs["lf_config"]) == {"experiment": name, **given["settings"]}
        np.testing.assert_equal(file["paper_stderr"].values, [0.125, np.nan])
        np.testing.assert_equal(file["ours_exact"].values, [np.nan, 1.5])
        assert file["ours"].attrs["ancillary_variables"] == "ours_stderr ours_exact"


@pytest.mark.usefixtures("trained")
def test_the_printed_table_has_errors_and_gaps(tmp_path):
    path = tmp_path / "table.json"
    lines = call("table-of-a-test", "-o", path).stdout.splitlines()
    assert lines[:3] == ["table-of-a-test: a table", "a paper", ""]
    cells = [re.split(r"\s{2,}", line) for line in lines[3:]]
    assert cells == [
        ["quantity", "paper", "ours", "exact"],
        ["KL", "0.50 ± 0.12", "1.00 ± 0.25", "-"],
        ["log Z", "-", "1.00 ± 0.25", "1.5"],
    ]
    assert json.loads(path.read_text())["rows"][1]["exact"] == 1.5


# trainings at single couplings


def no_training(*args: object, **given: object) -> None:
    raise AssertionError("a finished run is trained again")


@jax.numpy_dtype_promotion("standard")  # optax leans on it
def test_trainings_are_kept_and_carried_on(tmp_path, monkeypatch):
    """Stopped after its first steps, given again, and given once more when all is there.

    The rows are those of the variables, the exact ones those of the transfer matrix.
    """
    monkeypatch.setattr(chains, "_DRAWS", 512)
    small = {"field": "convolutional", "base": "ultralocal", "width": 4, "ode_steps": 4}
    config = Config("phi4", (16,), {"m": 0.25, "alpha": 0.01}, steps=40, batch=64, **small)
    case = chains.Case("m = 0.25", "a", config, {"free_energy": Estimate(-9.78, 0.001)})
    folder = tmp_path / "a-0"

    def recorded() -> bool:
        return Run.exists(folder) and bool(Run.open(folder).history())

    stopped = Settings(runs=tmp_path, interrupted=recorded)
    with pytest.raises(Interrupted, match="the same command again"):
        chains.judge(stopped, [case])
    assert [record["step"] for record in Run.open(folder).history()] == [20]

    settings = Settings(runs=tmp_path)
    rows, variables = chains.judge(settings, [case])
    assert Run.open(folder).finished
    assert Run.open(folder).history()[-1]["step"] == 40
    monkeypatch.setattr(runs, "train", no_training)
    again, _ = chains.judge(settings, [case])
    assert again == rows

    theory = theories.make("phi4", (16,))
    exact = theories.TransferMatrix(theory, theory.from_values(m=0.25, alpha=0.01))
    free_energy, reverse, forward, coverage, weight = rows
    assert free_energy.exact == pytest.approx(-exact.log_z)
    assert free_energy.paper == case.paper["free_energy"]
    assert free_energy.ours.value == variables["kl_reverse"].data[0, 0] - exact.log_z
    assert free_energy.ours.value > free_energy.exact - 0.1  # a bound, up to noise
    assert free_energy.ours.stderr > 0 and weight.ours.stderr > 0  # of one training, too
    assert reverse.ours.value == variables["ess_reverse"].data[0, 0]
    assert forward.ours.value == variables["ess_forward"].data[0, 0]
    assert coverage.ours.value == variables["coverage"].data[0, 0]
    assert weight.exact == pytest.approx(exact.positive_mode_weight)
    widths = np.diff(variables["bin_edge"].data[0])
    assert np.sum(widths * variables["histogram"].data[0]) == pytest.approx(1)

    variables["m"] = Variable(("coupling_point",), np.array([0.25]), "coupling m")
    record = Record(reproduce.find("table2"), {}, rows, variables)
    record.save(tmp_path / "a.nc")
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        assert file.sizes["coupling_point"] == file.sizes["seed"] == 1
    save_figure(record.figure(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")

    other = case._replace(config=replace(config, steps=60))
    with pytest.raises(LatticeFlowsError, match=r"other settings.*`runs`"):
        chains.judge(settings, [other])
