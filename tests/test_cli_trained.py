"""Commands on a run that has a flow: what they print and write, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray
from command_line import SINGLE_WELL, call, refused, small_run

from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.io import checkpoint
from lattice_flows.runs.run import Run
from lattice_flows.sampling.sampler import Sampler
from observables import LONG_NAMES
from theories import Phi4Couplings, StripSolution, TransferMatrix

COMMANDS = ("evaluate", "sample", "scan")


pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


@pytest.fixture
def copy(chain, tmp_path) -> Run:
    """The chain's run, to be spoilt."""
    return Run.open(shutil.copytree(chain.path, tmp_path / "copy"))


# what they say


def test_evaluate_prints_all_that_the_design_promises(chain):
    result = call("evaluate", chain.path, "--m", -1.0, "-n", 512, "--seed", 2, "--json")
    assert result.exit_code == 0 and result.stderr == ""
    report = json.loads(result.stdout, parse_constant=pytest.fail)
    assert report["theory"] == "phi4" and report["shape"] == [4] and report["reliable"] is True
    assert report["couplings"] == {"m": -1.0, "lam": 1.0, "alpha": 0.1}
    assert set(report["observables"]) | {"log_z"} == set(LONG_NAMES)
    for pair in [*report["observables"].values(), report["log_z"]]:
        assert pair.keys() - {"interval_68", "interval_95"} == {"value", "stderr"}
        assert pair["stderr"] >= 0
    for name in ("ess", "max_weight_share", "ess_reverse", "ess_forward"):
        assert 0 < report[name] <= 1 + 1e-9
    assert report["ess"] == report["ess_reverse"]
    # both estimate Z²/⟨w²⟩ under the flow
    assert report["ess_forward"] == pytest.approx(report["ess_reverse"], rel=0.4)
    assert report["ess_forward"] < 0.9
    for name in ("kl_reverse", "kl_forward"):
        assert -5 * report[f"{name}_stderr"] < report[name] < 1
    assert 0 < report["log_q_step_halving"] < 0.1
    theory = chain.config.make_theory()
    answers = TransferMatrix(theory, theory.from_values(**report["couplings"])).observables()
    assert report["exact"] == {name: pytest.approx(answers[name]) for name in LONG_NAMES}
    # honest: within 5 standard errors of the exact answers
    for name, pair in {**report["observables"], "log_z": report["log_z"]}.items():
        assert abs(pair["value"] - answers[name]) < 5 * pair["stderr"] + 1e-12, name


def test_evaluate_at_several_couplings_is_a_scan_with_forward_figures(chain):
    args = ("evaluate", chain.path, "--m", "-1.2,-0.8", "-n", 512)
    result = call(*args, "--json", "-o", "e.nc")
    assert result.exit_code == 0, result.output
    points = json.loads(result.stdout, parse_constant=pytest.fail)["points"]
    assert [p["couplings"]["m"] for p in points] == [-1.2, -0.8]
    for point in points:
        for name, pair in {**point["observables"], "log_z": point["log_z"]}.items():
            assert abs(pair["value"] - point["exact"][name]) < 5 * pair["stderr"] + 1e-12, name
        # what a single point says, from other draws
        alone = call("evaluate", chain.path, "--m", point["couplings"]["m"], "-n", 512, "--json")
        for name in ("ess_reverse", "ess_forward"):
            assert point[name] == pytest.approx(json.loads(alone.stdout)[name], rel=0.3)
    with xarray.open_dataset("e.nc") as scan:
        np.testing.assert_array_equal(scan["ess_forward"], [p["ess_forward"] for p in points])
        np.testing.assert_array_equal(scan["log_z_exact"], [p["exact"]["log_z"] for p in points])
        with xarray.open_dataset("e.nc", group="exact_curve") as curve:
            np.testing.assert_array_equal(curve["log_z_curve"][[0, -1]], scan["log_z_exact"])
    assert call("plot", "e.nc", "-o", "e.png").exit_code == 0
    header, *lines = call(*args).stdout.splitlines()
    assert header.split()[-3:] == ["ess", "ess_forward", "kl_reverse"] and len(lines) == 2


@pytest.mark.usefixtures("large")
def test_where_no_exact_answer_exists_there_is_none(torus):
    result = call("evaluate", torus.path, "-n", 1024, "--json", "--reference", "none")
    assert result.exit_code == 0
    report = json.loads(result.stdout, parse_constant=pytest.fail)
    assert report["shape"] == [2, 3]
    for name in ("ess_forward", "kl_forward", "kl_reverse", "exact"):
        assert report[name] is None
    assert report["ess_reverse"] > 0.05 and report["log_z"]["stderr"] > 0


@pytest.mark.usefixtures("large")
def test_exact_answers_that_take_long_judge_where_they_are_asked_for(torus):
    result = call("evaluate", torus.path, "-n", 1024, "--json", "--reference", "exact")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout, parse_constant=pytest.fail)
    exact = StripSolution(torus.config.make_theory(), Phi4Couplings(m=-1.0, **SINGLE_WELL))
    assert report["exact"]["log_z"] == pytest.approx(exact.log_z, abs=1e-4)
    assert report["exact"]["phi2"] == pytest.approx(exact.moment(2), rel=1e-4)
    assert report["forward_source"] == "exact"


def test_an_unfinished_run_says_so_and_so_do_its_files(copy):
    params = Sampler.load(copy).params
    checkpoint.save(copy.path / "checkpoint.npz", {"params": params, "step": 3})
    (copy.path / "finished.json").unlink()
    result = call("sample", copy.path, "--m", -1.0, "-n", 512, "-o", "ensemble.nc")
    assert result.exit_code == 0
    note = f"note: {copy.path} is at step 3 of {copy.config.steps}\n"
    assert note in result.stderr
    said = Ensemble.load("ensemble.nc").provenance
    assert (said["step"], said["steps"], said["finished"]) == (3, copy.config.steps, False)
    assert (
        said["failed"] == [] and said["invariance"]["statistic"] < said["invariance"]["threshold"]
    )
    result = call("scan", copy.path, "--m", -1.0, "-n", 512, "-o", "scan.nc")
    assert result.exit_code == 0 and note in result.stderr
    with xarray.open_dataset("scan.nc") as scan:
        assert json.loads(scan.attrs["lf_provenance"])["finished"] is False
        assert str(scan["failed_checks"].item()) == ""
        assert scan["invariance_statistic"] < scan["invariance_threshold"]


@pytest.mark.usefixtures("large")
def test_forward_figures_of_a_torus_come_from_hmc(torus):
    result = call("evaluate", torus.path, "-n", 1024, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout, parse_constant=pytest.fail)
    assert report["forward_source"] == "hmc" and report["exact"] is None
    # both estimate Z²/⟨w²⟩ under the flow
    assert report["ess_forward"] == pytest.approx(report["ess_reverse"], rel=0.4)
    assert -5 * report["kl_forward_stderr"] < report["kl_forward"] < 1


@pytest.mark.parametrize("where", ["exact", "hmc", "halved"])
def test_a_flow_that_diverges_from_a_sample_is_a_verdict(chain, torus, monkeypatch, where):
    """A sample of the target from which it can't be run backwards: told, and exit code 3."""
    log_weights = Sampler.log_weights

    def spoilt(self, phi, couplings, steps=None):
        found = log_weights(self, phi, couplings, steps)
        if (steps is None) == (where != "halved"):
            found[3:5] = np.nan, -np.inf
        return found

    monkeypatch.setattr(Sampler, "log_weights", spoilt)
    if where == "hmc":  # of a torus too large for exact answers
        monkeypatch.setattr("theories.lattice_theory.quick_solution", lambda *_: None)
    args = [torus.path] if where == "hmc" else [chain.path, "--m", -1.0]
    result = call("evaluate", *args, "-n", 1024, "-o", "e.nc", "--json")
    assert result.exit_code == 3, result.output
    report = json.loads(result.stdout, parse_constant=pytest.fail)
    assert "not_finite" in report["failed"] and not report["reliable"]
    assert re.search(r"^Error: unreliable: [^\n]*not_finite: [^\n]+\n\Z", result.stderr, re.M)
    if where == "halved":
        assert report["log_q_step_halving"] is None and report["forward_not_finite"] == 0
    else:
        assert report["forward_source"] == where and report["forward_not_finite"] == 2
        assert f"samples of p ({where}): 2" in result.stderr
        names = ("ess_forward", "coverage", "kl_forward", "kl_forward_stderr")
        assert all(report[name] is None for name in names)
    with xarray.open_dataset("e.nc") as file:
        assert not file["reliable"] and "not_finite" in str(file["failed_checks"].item())


@pytest.mark.slow
def test_hmc_and_exact_samples_tell_the_same_of_a_chain(chain):
    args = ("evaluate", chain.path, "--m", -1.0, "-n", 1024, "--json")
    exact, by_hmc = (
        json.loads(call(*args, "--reference", name).stdout) for name in ("auto", "hmc")
    )
    assert (exact["forward_source"], by_hmc["forward_source"]) == ("exact", "hmc")
    assert by_hmc["exact"] == exact["exact"]
    errors = np.hypot(exact["kl_forward_stderr"], by_hmc["kl_forward_stderr"])
    assert abs(exact["kl_forward"] - by_hmc["kl_forward"]) < 5 * errors
    assert by_hmc["ess_forward"] == pytest.approx(exact["ess_forward"], rel=0.3)


@pytest.mark.usefixtures("large")
def test_a_scan_of_a_large_torus_has_no_exact_columns(torus):
    assert call("scan", torus.path, "-n", 1024, "-o", "scan.nc").exit_code == 0
    with xarray.open_dataset("scan.nc") as scan:
        assert scan.sizes == {"coupling_point": 1, "bound": 2}
        assert not [name for name in scan.variables if "exact" in name or "curve" in name]
        assert scan["phi2_stderr"] > 0


def test_a_small_torus_stands_beside_exact_answers(torus):
    result = call("evaluate", torus.path, "-n", 1024, "--json")
    report = json.loads(result.stdout, parse_constant=pytest.fail)
    assert result.exit_code == 0 and report["forward_source"] == "exact"
    exact = StripSolution(torus.config.make_theory(), Phi4Couplings(m=-1.0, **SINGLE_WELL))
    assert report["exact"]["log_z"] == pytest.approx(exact.log_z, abs=1e-6)
    assert report["ess_forward"] == pytest.approx(report["ess_reverse"], rel=0.2)
    assert abs(report["log_z_error"]) < 5 * report["log_z_error_stderr"]
    result = call("scan", torus.path, "-n", 1024, "-o", "scan.nc", "--derivatives")
    assert result.exit_code == 0, result.output
    with xarray.open_dataset("scan.nc") as scan:
        for name in (*LONG_NAMES, "d_phi2_d_m", "d_log_z_d_lam"):
            pull = (scan[name] - scan[f"{name}_exact"]) / scan[f"{name}_stderr"].clip(1e-9)
            assert np.abs(pull) < 5, name


def test_scan_writes_all_that_the_design_promises(chain):
    result = call("scan", chain.path, "-n", 512, "-o", "scan.nc", "--json", "--seed", 3)
    assert result.exit_code == 0
    points = json.loads(result.stdout, parse_constant=pytest.fail)["points"]
    with xarray.open_dataset("scan.nc") as scan:
        np.testing.assert_allclose(scan["m"], np.linspace(-1.2, -0.8, 16), rtol=1e-12)
        np.testing.assert_array_equal(scan["alpha"], 0.1)
        for name in LONG_NAMES:
            for variable in (name, f"{name}_stderr", f"{name}_exact"):
                assert scan[variable].dims == ("coupling_point",), variable
                assert scan[variable].attrs["long_name"] and scan[variable].attrs["units"] == "1"
                assert np.isfinite(scan[variable]).all()
            linked = scan[name].attrs["ancillary_variables"].split()
            assert f"{name}_stderr" in linked
        for name in ("ess", "max_weight_share", "reliable"):
            assert scan[name].dims == ("coupling_point",)
        assert np.all((scan["ess"] > 0) & (scan["ess"] <= 1)) and np.all(scan["reliable"] == 1)
        np.testing.assert_array_equal(
            scan["phi2"], [p["observables"]["phi2"]["value"] for p in points]
        )
        np.testing.assert_array_equal(scan["log_z_exact"], [p["exact"]["log_z"] for p in points])
        assert scan.attrs["lf_format"] == "scan" and str(chain.path) in scan.attrs["lf_provenance"]
        for attribute in ("title", "source", "history", "date_created", "references", "lf_config"):
            assert scan.attrs[attribute], attribute


def test_the_seed_decides(chain):
    def sampled(name, seed, *more):
        args = ("sample", chain.path, "--m", -1.0, "-n", 512, "-o", name, "--seed", seed, *more)
        assert call(*args).exit_code == 0
        with xarray.open_dataset(name) as ensemble:
            return ensemble["configuration"].values, ensemble["log_weight"].values

    first, again, other = (sampled(f"{i}.nc", s) for i, s in enumerate((1, 1, 2)))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.isin(first[0], other[0]).any()
    double = sampled("x64.nc", 1, "--x64")  # the field in float64: the same draws but for rounding
    assert 0 < np.abs(double[1] - first[1]).max() < 1e-4


def test_an_ensemble_measured_is_what_sampling_said(chain):
    args = ("sample", chain.path, "--m", -1.0, "-n", 512, "-o", "e.nc", "--json")
    said = json.loads(call(*args).stdout)
    assert json.loads(call("measure", "e.nc", "--json").stdout) == said


def test_extrapolation_is_insisted_on(chain):
    for name in COMMANDS:
        args = (name, chain.path, "--m", -0.7, "-n", 512, "--seed", 5, "-o", f"{name}.nc")
        assert "outside what the run was trained on (m -1.2:-0.8" in refused(*args)
        assert call(*args, "--extrapolate").exit_code == 0
        assert Path(f"{name}.nc").exists()


def test_a_scan_over_a_coupling_that_was_not_trained(chain):
    message = refused("scan", chain.path, "--m", -1.0, "--lam", "0.5:1:3", "-o", "scan.nc")
    assert "lam = 0.5" in message and "--extrapolate" in message
    assert "count" in refused("scan", chain.path, "--m", "-1.2:-0.8", code=2)
    assert not Path("scan.nc").exists()


# what they refuse


def spoil_missing(file: Path) -> None:
    file.unlink()


def spoil_truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def spoil_empty(file: Path) -> None:
    file.write_bytes(b"")


def spoil_foreign(file: Path) -> None:
    np.savez(file, weights=np.zeros(3))


def spoil_newer(file: Path) -> None:
    with np.load(file) as arrays:
        content = dict(arrays)
    header = str(content["lattice-flows"]).replace('_version": 1', '_version": 2')
    np.savez(file, **(content | {"lattice-flows": np.array(header)}), allow_pickle=False)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_missing, "has no checkpoint yet: lattice-flows train"),
        (spoil_truncated, "truncated"),
        (spoil_empty, "truncated"),
        (spoil_foreign, "is not a checkpoint of lattice-flows"),
        (spoil_newer, "upgrade lattice-flows"),
    ],
)
def test_a_checkpoint_that_cannot_be_used(copy, name, spoil, words):
    spoil(copy.path / "checkpoint.npz")
    assert words in refused(name, copy.path, "--m", -1.0, "-o", "out.nc")
    assert not Path("out.nc").exists()


@pytest.mark.parametrize(
    "other",
    [
        {"theory": "phi4", "shape": [6]},
        {"theory": "phi4", "shape": [4], "width": 5},
        {"theory": "phi4", "shape": [4], "x64": True},
        {"theory": "phi4", "shape": [4], "field": "hollow"},
    ],
)
def test_a_run_whose_checkpoint_is_of_another_model(copy, other):
    config = json.loads((copy.path / "config.json").read_text())
    (copy.path / "config.json").write_text(json.dumps(config | other))
    assert "made for another model" in refused("evaluate", copy.path, "--m", -1.0)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("scan", "-o", "s.nc", "--plot", "s.xyz"), "name it .png, .pdf or .svg"),
        (("scan", "-o", "s.nc", "--plot", "s.nc"), "give each a file of its own"),
        (("sample", "--m", -1.0, "-o", "e.json"), "name it e.nc"),
        (("scan", "--m", "one"), "'one': not a value, LO:HI, LO:HI:COUNT or a comma list"),
    ],
)
def test_files_and_values_are_refused_before_anything_is_drawn(chain, args, words):
    name, *rest = args
    code = 1 if "xyz" in str(args) else 2
    assert words in refused(name, chain.path, *rest, code=code)
    assert not list(Path().iterdir())


def test_what_cannot_be_written_is_shown(chain):
    args = ("evaluate", chain.path, "--m", -1.0, "-n", 512, "--seed", 2)
    result = call(*args, "-o", "/proc/none.nc", "--json")
    assert result.exit_code == 1 and "cannot write" in result.stderr
    assert json.loads(result.stdout)["reliable"]


def test_couplings_of_another_theory(chain):
    message = refused("evaluate", chain.path, "--m", -1.0, "--tilt", 1, code=2)
    assert "phi4 has no coupling tilt" in message


def test_a_flow_that_diverges_is_one_line(tmp_path):
    run = small_run(tmp_path / "wild", 60.0, shape=(4,), couplings={"m": -1.0})
    message = refused("sample", run.path, "-n", 64, "-o", "out.nc")
    assert "not finite" in message and "flow diverged" in message
    assert not Path("out.nc").exists()


def test_weights_too_uneven_to_rely_on_leave_with_3(tmp_path):
    """A flow far from its theory: the numbers are given, flagged, and the exit code says so."""
    run = small_run(tmp_path / "poor", 0.6, shape=(4,), couplings={"m": 1.5, "lam": 0.02})
    result = call("scan", run.path, "--m", 1.5, "-n", 512, "-o", "scan.nc", "--json")
    assert result.exit_code == 3, result.output
    assert json.loads(result.stdout)["reliable"] is False
    assert re.search(r"^Error: unreliable: [^\n]+\n\Z", result.stderr, re.MULTILINE)
    with xarray.open_dataset("scan.nc") as scan:
        assert not scan["reliable"].any()


def test_two_processes_cannot_train_one_run(copy):
    """One holds the run; a second leaves at once, with the first one's pid in its line."""
    (copy.path / "finished.json").unlink()
    code = "import sys; from lattice_flows.runs.run import lock\n" + (
        "with lock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, copy.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        before = (copy.path / "checkpoint.npz").read_bytes()
        message = refused("train", copy.path, "--resume")
        assert "in use by another process" in message and str(holder.pid) in message
        assert (copy.path / "checkpoint.npz").read_bytes() == before
        # reading does not disturb: a run may be looked at while it is trained
        args = ("evaluate", copy.path, "--m", -1.0, "-n", 512, "--seed", 2, "--json")
        result = call(*args)
        assert result.exit_code == 0, result.output
        holder.kill()
