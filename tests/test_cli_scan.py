"""Scans with more to say: derivatives, draws of all points together, points where they count."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray
from command_line import call, refused, small_run

from lattice_flows.figures.plots import plot_file
from lattice_flows.runs.run import Run
from observables import LONG_NAMES

pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


def scanned(run: Run, *more: object, code: int | None = 0) -> list[dict]:
    """The points that a scan of `run` reports; it leaves scan.nc, and scan.png where asked."""
    args = ("scan", run.path, "-n", 2048, "-o", "scan.nc", "--overwrite", "--json", "--seed", 7)
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
        parts = ("", "_stderr", "_exact", "_interval_68", "_interval_95")
        added = {f"{name}{part}" for name in names for part in parts}
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


@pytest.mark.usefixtures("large")
def test_of_a_single_point_derivatives_are_with_respect_to_all_couplings(torus):
    (point,) = scanned(torus, "--derivatives")
    assert set(point["derivatives"]) == {
        f"d_{name}_d_{theta}" for name in LONG_NAMES for theta in ("m", "lam", "alpha")
    }
    assert point["exact"] is None
    text = call("scan", torus.path, "-n", 2048, "--derivatives").stdout
    assert re.search(r"^  d_phi2_d_lam +-[\d.]+ ± [\d.]+(?: \(68 %: [^)]+\))?$", text, re.MULTILINE)


def test_couplings_scanned_together_have_a_derivative_each(tmp_path):
    couplings = {"mass": (1.0, 1.5), "mu": (1.0, 1.5)}
    run = small_run(tmp_path / "well", 0.02, theory="double-well", shape=(4,), couplings=couplings)
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
    assert [p["n"] for p in points] == [4 * 2048] * 4
    with xarray.open_dataset("scan.nc") as scan:
        np.testing.assert_array_equal(scan["n"], 4 * 2048)
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
    with xarray.open_dataset("scan.nc", group="exact_curve") as curve:
        assert curve.sizes["exact_point"] == 61
    assert scanned(chain, *arguments) == points  # the seed decides


def test_an_adaptive_scan_can_be_combined(chain):
    points = scanned(chain, "--adaptive", 5, "--combine")
    assert [p["n"] for p in points] == [5 * 2048] * 5
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
