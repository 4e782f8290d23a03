"""Commands on a run that has a flow: what they print and write, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from command_line import call, refused
from helpers import random_params

from lattice_flows import checkpoint
from lattice_flows.config import Config
from lattice_flows.model import build
from lattice_flows.params import Params
from lattice_flows.plots import plot_file
from lattice_flows.run import Run
from observables import LONG_NAMES
from theories import TransferMatrix

COMMANDS = ("evaluate", "sample", "scan")


def make(path: Path, size: float, **settings) -> Run:
    """A run in float32 with the checkpoint of a small flow that is fit for a single well.

    No training: base and backbone do the most of it, the rest of the field is noise of `size`.
    """
    settings = {"field": "convolutional", "base": "ultralocal", "base_curvature": 1.0} | settings
    settings = {"theory": "phi4", "width": 4, "ode_steps": 6} | settings
    run = Run.create(path, Config(**settings))
    flow = build(run.config).flow
    field = random_params(flow.field, size, seed=1)
    params = Params(
        flow.base.init(), field | {"backbone": {**field["backbone"], "b": jnp.zeros(2)}}
    )
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    checkpoint.save(run.path / "checkpoint.npz", {"params": single})
    run.finish()
    return run


SINGLE_WELL = {"lam": 1.0, "alpha": 0.1}


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Run:
    couplings = {"m": (-1.2, -0.8), **SINGLE_WELL}
    return make(tmp_path_factory.mktemp("chain") / "run", 0.05, shape=(4,), couplings=couplings)


@pytest.fixture(scope="module")
def torus(tmp_path_factory) -> Run:
    path = tmp_path_factory.mktemp("torus") / "run"
    return make(path, 0.02, shape=(2, 3), couplings={"m": -1.0, **SINGLE_WELL})


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def copy(chain, tmp_path) -> Run:
    """The chain's run, to be spoilt."""
    return Run.open(shutil.copytree(chain.path, tmp_path / "copy"))


# what they say


def test_evaluate_prints_all_that_the_design_promises(chain):
    result = call("evaluate", chain.path, "--m", -1.0, "-n", 512, "--json")
    assert result.exit_code == 0 and result.stderr == ""
    report = json.loads(result.stdout, parse_constant=pytest.fail)
    assert report["theory"] == "phi4" and report["shape"] == [4] and report["reliable"] is True
    assert report["couplings"] == {"m": -1.0, "lam": 1.0, "alpha": 0.1}
    assert set(report["observables"]) | {"log_z"} == set(LONG_NAMES)
    for pair in [*report["observables"].values(), report["log_z"]]:
        assert pair.keys() == {"value", "stderr"} and pair["stderr"] >= 0
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


def test_where_no_exact_answer_exists_there_is_none(torus):
    result = call("evaluate", torus.path, "-n", 1024, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout, parse_constant=pytest.fail)
    assert report["shape"] == [2, 3]
    for name in ("ess_forward", "kl_forward", "kl_reverse", "exact"):
        assert report[name] is None
    assert report["ess_reverse"] > 0.05 and report["log_z"]["stderr"] > 0


def test_a_scan_of_a_torus_has_no_exact_columns(torus):
    assert call("scan", torus.path, "-n", 1024, "-o", "scan.nc").exit_code == 0
    with xarray.open_dataset("scan.nc") as scan:
        assert scan.sizes == {"coupling_point": 1}
        assert not [name for name in scan.variables if "exact" in name or "curve" in name]
        assert scan["phi2_stderr"] > 0


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
        args = (name, chain.path, "--m", -0.7, "-n", 512, "-o", f"{name}.nc")
        assert "outside what the run was trained on (m -1.2:-0.8" in refused(*args)
        assert call(*args, "--extrapolate").exit_code == 0
        assert Path(f"{name}.nc").exists()


def test_a_scan_over_a_coupling_that_was_not_trained(chain):
    message = refused("scan", chain.path, "--m", -1.0, "--lam", "0.5:1:3", "-o", "scan.nc")
    assert "lam = 0.5" in message and "--extrapolate" in message
    assert "count" in refused("scan", chain.path, "--m", "-1.2:-0.8", code=2)
    assert not Path("scan.nc").exists()


# scans with more to say


def scanned(run: Run, *more: object, code: int | None = 0) -> list[dict]:
    """The points that a scan of `run` reports; it leaves scan.nc, and scan.png where asked."""
    args = ("scan", run.path, "-n", 512, "-o", "scan.nc", "--overwrite", "--json", "--seed", 3)
    result = call(*args, *more)
    assert code is None or result.exit_code == code, result.output
    whole = json.loads(result.stdout, parse_constant=pytest.fail)
    return whole.get("points", [whole])


def check_exact(scan: xarray.Dataset, names) -> None:
    """Within 5 standard errors of the exact answers."""
    for name in names:
        away = np.abs(scan[name] - scan[f"{name}_exact"])
        assert np.all(away <= 5 * scan[f"{name}_stderr"] + 1e-9), name


def test_derivatives_are_columns_of_their_own(chain):
    plain = scanned(chain, "--m", "-1.2:-0.8:3")
    with xarray.open_dataset("scan.nc") as scan:
        before = scan.load()
    points = scanned(chain, "--m", "-1.2:-0.8:3", "--derivatives")
    names = [f"d_{name}_d_m" for name in LONG_NAMES]
    with xarray.open_dataset("scan.nc") as scan:
        for name in before.variables:
            np.testing.assert_array_equal(before[name], scan[name])
        added = {v for n in names for v in (n, f"{n}_stderr", f"{n}_exact")}
        assert set(scan.variables) - set(before.variables) == added
        assert scan["d_phi2_d_m"].attrs["ancillary_variables"] == (
            "d_phi2_d_m_stderr d_phi2_d_m_exact"
        )
        assert (
            "derivative with respect to m of the mean of phi^2"
            in (scan["d_phi2_d_m"].attrs["long_name"])
        )
        check_exact(scan, names)
        # ∂_m log Z = V⟨φ²⟩
        np.testing.assert_allclose(scan["d_log_z_d_m"], 4 * scan["phi2"], rtol=1e-6)
        np.testing.assert_allclose(scan["d_log_z_d_m_exact"], 4 * scan["phi2_exact"], rtol=1e-8)
    for old, new in zip(plain, points, strict=True):
        assert set(new["derivatives"]) == set(names)
        assert {k: v for k, v in new.items() if k not in ("derivatives", "exact")} == {
            k: v for k, v in old.items() if k != "exact"
        }


def test_of_a_single_point_derivatives_are_with_respect_to_all_couplings(torus):
    (point,) = scanned(torus, "--derivatives")
    assert set(point["derivatives"]) == {
        f"d_{name}_d_{theta}" for name in LONG_NAMES for theta in ("m", "lam", "alpha")
    }
    assert point["exact"] is None
    text = call("scan", torus.path, "-n", 512, "--derivatives").stdout
    assert re.search(r"^  d_phi2_d_lam +-[\d.]+ ± [\d.]+$", text, re.MULTILINE)


def test_couplings_scanned_together_have_a_derivative_each(tmp_path):
    couplings = {"mass": (1.0, 1.5), "mu": (1.0, 1.5)}
    run = make(tmp_path / "well", 0.02, theory="double-well", shape=(4,), couplings=couplings)
    points = scanned(run, "--m", "1:1.5:2", "--derivatives", code=None)
    assert {name.rsplit("_d_", 1)[1] for name in points[0]["derivatives"]} == {"mass", "mu"}
    with xarray.open_dataset("scan.nc") as scan:
        for theta in ("mass", "mu"):
            assert np.isfinite(scan[f"d_susceptibility_abs_d_{theta}_exact"]).all()


def test_a_combined_scan_uses_all_draws_everywhere(chain):
    scanned(chain, "--m", "-1.2:-0.8:4")
    with xarray.open_dataset("scan.nc") as scan:
        alone = scan.load()
    arguments = ("--m", "-1.2:-0.8:4", "--combine", "--derivatives", "--plot", "scan.png")
    points = scanned(chain, *arguments)
    assert Path("scan.png").read_bytes().startswith(b"\x89PNG")
    legend = [text.get_text() for text in plot_file("scan.nc").legends[0].get_texts()]
    assert legend == ["exact", "flow, all draws at each point"]
    assert [p["n"] for p in points] == [4 * 512] * 4
    with xarray.open_dataset("scan.nc") as scan:
        np.testing.assert_array_equal(scan["n"], 4 * 512)
        assert np.all(scan["ess"] * scan["n"] > 1.3 * alone["ess"] * alone["n"])
        for name in ("abs_magnetization", "susceptibility_abs", "phi2", "log_z"):
            assert np.all(scan[f"{name}_stderr"] < 0.8 * alone[f"{name}_stderr"]), name
        check_exact(scan, [*LONG_NAMES, *(f"d_{name}_d_m" for name in LONG_NAMES)])
        assert json.loads(scan.attrs["lf_provenance"])["combined"] is True


def test_an_adaptive_scan_adds_points_to_the_range_it_began_with(chain):
    arguments = ("--m", "-1.2:-0.8:3", "--adaptive", 6, "--plot", "scan.png")
    coarse, points = scanned(chain, "--m", "-1.2:-0.8:3"), scanned(chain, *arguments)
    assert Path("scan.png").exists()
    m = [p["couplings"]["m"] for p in points]
    assert len(m) == 6 and m == sorted(set(m)) and m[0] == -1.2 and m[-1] == -0.8
    assert [p for p in points if p["couplings"]["m"] in (-1.2, -1.0, -0.8)] == coarse
    with xarray.open_dataset("scan.nc") as scan:
        np.testing.assert_array_equal(scan["m"], m)
        check_exact(scan, LONG_NAMES)
        assert scan.sizes["exact_point"] == 61
    assert scanned(chain, *arguments) == points  # the seed decides


def test_an_adaptive_scan_can_be_combined(chain):
    points = scanned(chain, "--adaptive", 5, "--combine")
    assert [p["n"] for p in points] == [5 * 512] * 5
    assert [p["couplings"]["m"] for p in points][::4] == [-1.2, -0.8]
    with xarray.open_dataset("scan.nc") as scan:
        check_exact(scan, LONG_NAMES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--m", "-1.2:-0.8:3", "--lam", "0.9,1"), "refines one range"),
        (("--m", "-1"), "refines one range"),
        (("--m", "-1,-1"), "refines one range"),
        (("--m", "-1.2:-0.8:7"), "less than the 7 points"),
    ],
)
def test_an_adaptive_scan_needs_one_range(chain, arguments, words):
    message = refused("scan", chain.path, *arguments, "--adaptive", 6, "--extrapolate", code=2)
    assert words in message


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


def test_couplings_of_another_theory(chain):
    message = refused("evaluate", chain.path, "--m", -1.0, "--tilt", 1, code=2)
    assert "phi4 has no coupling tilt" in message


def test_a_flow_that_diverges_is_one_line(tmp_path):
    run = make(tmp_path / "wild", 60.0, shape=(4,), couplings={"m": -1.0})
    message = refused("sample", run.path, "-n", 64, "-o", "out.nc")
    assert "not finite" in message and "flow diverged" in message
    assert not Path("out.nc").exists()


def test_weights_too_uneven_to_rely_on_leave_with_3(tmp_path):
    """A flow far from its theory: the numbers are given, flagged, and the exit code says so."""
    run = make(tmp_path / "poor", 0.6, shape=(4,), couplings={"m": 1.5, "lam": 0.02})
    result = call("scan", run.path, "--m", 1.5, "-n", 512, "-o", "scan.nc", "--json")
    assert result.exit_code == 3, result.output
    assert json.loads(result.stdout)["reliable"] is False
    assert re.search(r"^Error: unreliable: [^\n]+\n\Z", result.stderr, re.MULTILINE)
    with xarray.open_dataset("scan.nc") as scan:
        assert not scan["reliable"].any()


def test_two_processes_cannot_train_one_run(copy):
    """One holds the run; a second leaves at once, with the first one's pid in its line."""
    (copy.path / "finished.json").unlink()
    code = "import sys; from lattice_flows.run import lock\n" + (
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
        args = ("evaluate", copy.path, "--m", -1.0, "-n", 512, "--json")
        assert call(*args).exit_code == 0
        holder.kill()
