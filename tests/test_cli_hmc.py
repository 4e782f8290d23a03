"""lattice-flows hmc."""

import json
import re
from pathlib import Path

import pytest
from command_line import call, refused

import theories
from lattice_flows.ensembles.ensemble import Ensemble
from theories.errors import LatticeFlowsError

HMC = ["hmc", "phi4", "--sites", 4, "--m", 0.5, "-o", "chains.nc"]


pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


def test_draws_are_measured_beside_exact_answers():
    result = call(*HMC, "-n", 4000, "--chains", 16, "--json", "--seed", 1)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout, parse_constant=pytest.fail)
    assert answer["couplings"] == {"m": 0.5, "lam": 1 / 16, "alpha": 0.01}
    assert (answer["n"], answer["chains"], answer["reliable"]) == (4000, 16, True)
    assert 0.6 < answer["acceptance"] < 0.95
    assert 0.4 < answer["tau_int"] < 5 and 1 <= answer["r_hat"] <= 1.01
    assert answer["log_z"] is None
    assert set(answer["exact"]) == set(answer["observables"])
    ensemble = Ensemble.load("chains.nc")
    assert (len(ensemble), ensemble.chains) == (4000, 16)
    measured = json.loads(call("measure", "chains.nc", "--json").stdout)
    assert measured["observables"] == answer["observables"]
    assert measured["tau_int"] == answer["tau_int"]
    # a person sees the same
    text = call(*HMC, "-n", 4000, "--chains", 16, "--seed", 1, "--overwrite").stdout
    assert re.search(r"abs_magnetization +\S+ ± \S+ +exact ", text)
    assert re.search(r"tau_int +\S+ ± ", text) and "acceptance" in text


def test_an_exact_answer_that_is_too_hard_costs_no_draws(monkeypatch):
    def too_hard(*_):
        raise LatticeFlowsError("too many grid points")

    monkeypatch.setattr(theories.Phi4, "exact", too_hard)
    result = call(*HMC, "-n", 4000, "--chains", 16, "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["exact"] is None


def test_too_few_draws_leave_with_3_and_are_written():
    """In three dimensions, where nothing is exact; whole draws of every chain."""
    few = ["-n", 10, "--chains", 4, "--warm-up", 5, "--every", 1]
    result = call("hmc", "phi4", "--shape", "2x2x2", *few, "-o", "few.nc", "--json")
    assert result.exit_code == 3
    *_, error = result.stderr.splitlines()
    assert error.startswith("Error: unreliable: 12 draws with an autocorrelation time")
    assert result.stderr.count("Error") == 1
    answer = json.loads(result.stdout, parse_constant=pytest.fail)
    assert answer["exact"] is None and answer["shape"] == [2, 2, 2]
    assert len(Ensemble.load("few.nc")) == 12


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["phi6", "--sites", 4], 1, ["no theory 'phi6'"]),
        (["phi4"], 2, ["--sites"]),
        (["phi4", "--sites", 4, "--m", "0.5,1"], 2, ["--m takes a single value"]),
        (["phi4", "--sites", 4, "--lam", -1], 1, ["lam must be greater than 0"]),
        (["phi4", "--sites", 4, "--tilt", 1], 2, ["no coupling tilt"]),
        (["phi4", "--sites", 4, "--chains", 0], 2, ["--chains"]),
        (["phi4", "--sites", 4, "-n", 1], 2, ["-n"]),
        (["gmm-40"], 1, ["give a lattice theory"]),
        (["many-well", "--sites", 4], 1, ["give a lattice theory"]),
    ],
)
def test_bad_input_is_one_line(args, code, words):
    message = refused("hmc", *args, "-o", "chains.nc", code=code)
    for word in words:
        assert word in message
    assert not list(Path().iterdir())


def test_an_existing_output_is_refused_before_any_work():
    Path("chains.nc").write_text("precious")
    assert "chains.nc exists" in refused(*HMC)
