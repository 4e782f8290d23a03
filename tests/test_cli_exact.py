"""Values of couplings on the command line, and `lattice-flows exact`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray
from command_line import call, refused

from lattice_flows.scripts import _values

EXACT = ["exact", "phi4", "--sites", "16"]


pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


# values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.5", (0.5,)),
        ("-1e-2", (-0.01,)),
        ("0.25,0.5,1", (0.25, 0.5, 1.0)),
        ("0.25:1:4", (0.25, 0.5, 0.75, 1.0)),
        ("0.1:0.7:2", (0.1, 0.7)),
    ],
)
def test_values_are_read(text, values):
    assert _values.ValuesType().convert(text, None, None) == (values, False)


def test_a_range_without_count_is_continuous():
    assert _values.ValuesType().convert("0.25:1", None, None) == ((0.25, 1.0), True)


@pytest.mark.parametrize(
    "text", ["", "a", "1,", "1:", "1:0", "1:1:3", "1:2:1", "1:2:2.5", "1:2:3:4", "inf", "0:nan:3"]
)
def test_what_is_no_value_is_refused(text):
    assert "--m" in refused(*EXACT, "--m", text, code=2)


def test_several_ranges_make_a_grid():
    given = {"m": _values.Values((1.0, 2.0)), "alpha": _values.Values((0.0, 0.1))}
    assert _values.grid("phi4", given) == [
        {"m": 1.0, "alpha": 0.0},
        {"m": 1.0, "alpha": 0.1},
        {"m": 2.0, "alpha": 0.0},
        {"m": 2.0, "alpha": 0.1},
    ]


def test_m_of_the_double_well_is_mass_and_mu_together():
    given = {"m": _values.Values((1.5, 3.0))}
    assert _values.grid("double-well", given) == [
        {"mass": 1.5, "mu": 1.5},
        {"mass": 3.0, "mu": 3.0},
    ]


# exact


def test_exact_prints_the_verified_numbers_as_json():
    result = call(*EXACT, "--m", "0.5", "--json")
    answer = json.loads(result.stdout, parse_constant=pytest.fail)
    assert answer["theory"] == "phi4" and answer["shape"] == [16]
    assert answer["couplings"] == {"m": 0.5, "lam": 1 / 16, "alpha": 0.01}
    assert answer["log_z"]["value"] == pytest.approx(18.760333, abs=5e-7)
    observables = answer["observables"]
    assert observables["positive_mode_weight"]["value"] == pytest.approx(0.637126, abs=5e-7)
    assert observables["susceptibility_abs"] == {
        "value": pytest.approx(1.169301, abs=5e-7),
        "stderr": 0.0,
    }
    assert len(observables["correlator"]["value"]) == 16
    assert answer["reliable"] is True and answer["ess"] is None
    assert result.stderr == ""


def test_exact_prints_a_table_for_people():
    lines = call(*EXACT, "--m", "0.5").stdout.splitlines()
    assert lines[0] == "phi4  16 sites  m 0.5  lam 0.0625  alpha 0.01"
    assert "log_z                 18.76033288" in lines[-2]
    assert len({line[:24].rstrip().rfind(" ") for line in lines[1:]}) == 1  # aligned


def test_several_points_are_a_table():
    lines = call(*EXACT, "--m", "0.5,1").stdout.splitlines()
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1
    assert lines[0].split()[:2] == ["m", "magnetization"]
    assert lines[2].startswith("1    ") and "63.87567" in lines[2]


def test_exact_over_a_range_is_a_netcdf_table():
    command = ["lattice-flows", *EXACT, "--m", "0.25,0.5,0.75,1", "-o", "exact.nc"]
    code = f"import sys; sys.argv = {command!r}; from lattice_flows.scripts.cli import main; main()"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    with xarray.open_dataset("exact.nc") as table:
        np.testing.assert_array_equal(table["m"], [0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(
            table["log_z"], [9.785547, 18.760333, 37.043793, 63.875673], atol=5e-7
        )
        assert table["correlator"].dims == ("coupling_point", "separation")
        assert table["m"].dims == ("coupling_point",)
        assert table.attrs["lf_format"] == "exact-table"
        assert " ".join(command) in table.attrs["history"]
        assert "log_z_stderr" not in table


def test_exact_writes_json_too():
    result = call(*EXACT, "--m", "0.5,1", "-o", "exact.json", "--json")
    written = json.loads(Path("exact.json").read_text())
    assert written.pop("drawing")["command"] == "exact"
    assert written == json.loads(result.stdout)
    assert [point["couplings"]["m"] for point in written["points"]] == [0.5, 1.0]


def test_exact_double_well():
    answer = json.loads(call("exact", "double-well", "--sites", 16, "--m", 6, "--json").stdout)
    assert answer["log_z"]["value"] == pytest.approx(23.1902, abs=5e-5)
    assert answer["observables"]["phi2"]["value"] == pytest.approx(5.8804, abs=5e-5)


def test_a_gap_below_rounding_errors_is_null_with_a_bound():
    """Two wells a hair's breadth apart in depth: no two digits of their splitting are known."""
    command = ["exact", "double-well", "--sites", 16, "--m", "3,14", "--tilt", 1e-17]
    known, lost = json.loads(call(*command, "--json", "-o", "gaps.nc").stdout)["points"]
    assert known["observables"]["energy_gap"]["value"] == pytest.approx(5.0922e-4, rel=1e-4)
    assert "energy_gap_bound" not in known
    for name in ("energy_gap", "correlation_length"):
        assert lost["observables"][name] == {"value": None, "stderr": None}
    assert 0 < lost["energy_gap_bound"] < 1e-12
    assert lost["correlation_length_bound"] == 1 / lost["energy_gap_bound"]
    with xarray.open_dataset("gaps.nc") as table:
        for name in ("energy_gap", "correlation_length"):
            assert np.isnan(table[name].values).tolist() == [False, True]
            assert np.isnan(table[f"{name}_bound"].values).tolist() == [True, False]
            assert f"{name}_stderr" not in table
    command[5] = 14
    text = call(*command).stdout
    assert "energy_gap                -\n" in text and "energy_gap_bound" in text


def test_the_gap_of_symmetric_deep_wells_is_known():
    answer = json.loads(call("exact", "double-well", "--sites", 16, "--m", 14, "--json").stdout)
    found = answer["observables"]
    assert found["energy_gap"]["value"] == pytest.approx(8.78312249e-80, rel=1e-8, abs=0)
    assert found["correlation_length"]["value"] == pytest.approx(1.13854725e79, rel=1e-8)
    assert not any(name.endswith("_bound") for name in answer)


def test_a_mean_that_is_lost_has_a_bound():
    answer = json.loads(call("exact", "gmm-4", "--beta", 2, "--json").stdout)
    assert answer["observables"]["mean"]["value"] is None
    assert 0 < answer["mean_bound"] < 1e-10
    answer = json.loads(call("exact", "many-well", "--sites", 2, "--tilt", 0, "--json").stdout)
    assert answer["observables"]["mean"]["value"] == 0
