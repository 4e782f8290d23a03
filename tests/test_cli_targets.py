"""Every command on targets that are not on a lattice."""

from __future__ import annotations

import json
from pathlib import Path

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from command_line import refused

from lattice_flows.ensembles.ensemble import Ensemble, describe
from lattice_flows.flows.model import build
from lattice_flows.io import checkpoint
from lattice_flows.io.netcdf import read_dataset
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from theories import THEORIES, LatticeFlowsError, make

MODES = ["mode_1", "mode_2"]


def call(*args: object, code: int | None = 0):
    result = command_line.call(*args)
    assert code is None or result.exit_code == code, result.output
    return result


pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


def untrained(path: Path, **settings) -> Run:
    """A finished run whose field does next to nothing."""
    run = Run.create(path, Config(width=4, ode_steps=2, **settings))
    params = build(run.config).init(jax.random.key(0))
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    checkpoint.save(run.path / "checkpoint.npz", {"params": single})
    run.finish()
    return run


@pytest.fixture(scope="module")
def mixture(tmp_path_factory) -> Run:
    """A wide base in place of gmm-2 over a range of β: low ESS, but enough to be relied upon."""
    path = tmp_path_factory.mktemp("mixture") / "run"
    return untrained(path, theory="gmm-2", couplings={"beta": (0.5, 1)}, base_width=7.0)


@jax.numpy_dtype_promotion("standard")  # optax leans on it
def test_a_mixture_is_trained_from_the_command_line():
    train = ["train", "r", "--theory", "gmm-2", "--steps", 3, "--batch", 32, "--width", 4]
    call(*train, "--ode-steps", 2, "--base-width", 8, "--objective", "reverse-kl")
    config = Run.open("r").config
    assert (config.shape, config.field, config.base) == ((2,), "mlp", "tempered")
    assert config.couplings == {"beta": 1.0}
    assert "finished" in call(*train[:2], "--resume").stderr
    answer = json.loads(call("evaluate", "r", "-n", 200, "--json", code=None).stdout)
    assert (answer["theory"], answer["shape"]) == ("gmm-2", [2])


@jax.numpy_dtype_promotion("standard")
def test_a_mixture_is_taught_other_temperatures_and_what_cannot_be_is_refused(tmp_path):
    """The run resumes; TRADE needs couplings that lead away, and draws where it begins."""
    point = untrained(tmp_path / "point", theory="gmm-2", base_width=7.0)
    few = ("--steps", 2, "--batch", 32, "--json")
    taught = ("transfer", point.path, "line", "--objective", "trade", *few)
    answer = json.loads(call(*taught, "--beta", "0.5:2").stdout)
    assert answer["finished"] and answer["last"]["ess"] > 0 and answer["last"]["balance"] > 0
    config = Run.open("line").config
    assert (config.boundary, config.base, config.field) == ("samples", "tempered", "mlp")
    assert "is finished" in call(*taught, "--beta", "0.5:2", "--resume").stderr
    assert "give one, --beta LOW:HIGH" in refused("transfer", point.path, "n", *taught[3:])
    there = ("transfer", "line", "n", "--objective", "trade", *few)
    assert "give a wider one" in refused(*there, "--beta", "0.7:1")
    assert "not on a lattice" in refused(
        "transfer", point.path, "n", "--beta", "0.5:2", "--objective", "transport"
    )
    cold = untrained(tmp_path / "cold", theory="gmm-2", couplings={"beta": 9.0}, base_width=7.0)
    assert "no draws of gmm-2 are known" in refused(
        "transfer", cold.path, "n", "--beta", "0.5:2", "--objective", "trade"
    )
    assert not Path("n").exists()


@jax.numpy_dtype_promotion("standard")
def test_the_deformation_loss_takes_the_diffusion_path():
    call(
        *("train", "r", "--theory", "gmm-2", "--steps", 2, "--batch", 32, "--width", 4),
        *("--ode-steps", 2, "--interpolation", "diffusion", "--points", "trajectories"),
    )
    assert Run.open("r").finished


def test_evaluate_says_how_far_the_draws_are_from_exact_ones(mixture):
    args = ("evaluate", mixture.path, "--beta", 1, "-n", 3000)
    answer = json.loads(call(*args, "--json", "-o", "e.nc", code=None).stdout)
    assert list(answer["observables"]) == ["mean", "second_moment", *MODES]
    assert answer["exact"]["mode_1"] == pytest.approx(1 / 3) and answer["exact"]["log_z"] == 0
    assert answer["log_z_error"] == answer["log_z"]["value"]
    assert answer["log_z_error_stderr"] == answer["log_z"]["stderr"]
    assert abs(answer["log_z_error"]) < 5 * answer["log_z_error_stderr"]
    # the base alone: N(0, 49) in place of the mixture
    assert 0.2 < answer["energy_distance"] < 5
    assert 1 < answer["sliced_wasserstein"] < 10
    assert answer["hausdorff"] < 2
    assert 0 < answer["ess_forward"] < 1 and answer["kl_forward"] > 0
    with xarray.open_dataset("e.nc") as file:
        assert file.attrs["title"] == "observables of gmm-2 in 2 dimensions"
        assert float(file.energy_distance) == answer["energy_distance"]
        assert "nearest" in file.hausdorff.attrs["long_name"]
    assert "gmm-2  2 dimensions  beta 1" in call(*args, code=None).stdout


def test_where_nothing_is_exact_distances_are_null(tmp_path):
    run = untrained(tmp_path / "run", theory="gmm-2", couplings={"beta": 0.05}, base_width=20.0)
    answer = json.loads(call("evaluate", run.path, "-n", 200, "--json", code=None).stdout)
    names = ("exact", "ess_forward", "log_z_error", "log_z_error_stderr", "energy_distance")
    assert all(answer[name] is None for name in (*names, "sliced_wasserstein", "hausdorff"))


def test_sample_measure_and_plot(mixture):
    sampled = call("sample", mixture.path, "--beta", 0.7, "-n", 3000, "-o", "e.nc", "--json")
    measured = call("measure", "e.nc", "-o", "o.nc", "--json")
    assert json.loads(sampled.stdout) == json.loads(measured.stdout)
    with xarray.open_dataset("e.nc") as file:
        assert file.configuration.dims == ("draw", "component")
        assert file.configuration.shape == (3000, 2) and float(file.beta) == 0.7
        assert file.attrs["title"] == "configurations of gmm-2 in 2 dimensions"
    call("plot", "e.nc")
    call("plot", "o.nc")
    assert Path("e.png").stat().st_size > 5000 and Path("o.png").stat().st_size > 5000


def test_scan_over_beta_beside_exact_answers(mixture):
    args = ("scan", mixture.path, "--beta", "0.5,0.75,1", "-n", 3000)
    table = call(*args, "-o", "s.nc", "--plot", "s.png", code=None).stdout
    assert table.split()[:5] == ["beta", "mean", "second_moment", *MODES]
    with xarray.open_dataset("s.nc") as scan:
        assert scan.beta.values.tolist() == [0.5, 0.75, 1]
        pull = (scan.log_z - scan.log_z_exact) / scan.log_z_stderr
        assert np.all(np.abs(pull) < 5)
        with xarray.open_dataset("s.nc", group="exact_curve") as curve:
            assert curve.mode_1_curve.shape == curve.beta_curve.shape == (61,)
        assert float(scan.mode_1_exact[-1]) == pytest.approx(1 / 3)
    assert Path("s.png").stat().st_size > 5000


def test_a_scan_goes_on_where_exact_answers_end(mixture):
    args = ("scan", mixture.path, "--beta", "1,5,6", "--extrapolate", "-n", 100)
    call(*args, "-o", "s.nc", "--plot", "s.png", code=3)
    with xarray.open_dataset("s.nc") as scan:
        assert np.isfinite(scan.log_z_exact.values).tolist() == [True, True, False]
    assert "log_z_curve" not in read_dataset("s.nc")
    assert Path("s.png").stat().st_size > 5000


def test_many_wells_go_through_all_commands(tmp_path):
    run = untrained(tmp_path / "run", theory="many-well", shape=(2,), base_width=1.5)
    answer = json.loads(call("evaluate", run.path, "-n", 3000, "--json").stdout)
    assert list(answer["observables"]) == ["mean", "second_moment", "positive_well"]
    assert answer["exact"]["log_z"] == pytest.approx(10.29347971)
    assert answer["hausdorff"] < 0.5
    call("sample", run.path, "-n", 3000, "-o", "e.nc")
    call("plot", "e.nc")
    call("scan", run.path, "--depth", "5,6", "--extrapolate", "-o", "s.nc", "--plot", "s.png")
    assert Path("s.png").stat().st_size > 5000


@pytest.mark.parametrize(("name", "modes"), [("gmm-2", 2), ("gmm-4", 4), ("gmm-40", 40)])
def test_exact_answers_need_no_sites(name, modes):
    answer = json.loads(call("exact", name, "--json").stdout)
    assert answer["log_z"] == {"value": 0, "stderr": 0}
    weights = [v["value"] for k, v in answer["observables"].items() if k.startswith("mode_")]
    assert len(weights) == modes and sum(weights) == pytest.approx(1)


def test_exact_answers_of_many_wells():
    answer = json.loads(call("exact", "many-well", "--sites", 32, "--json").stdout)
    assert answer["log_z"]["value"] == pytest.approx(16 * 10.293479707)
    tilted = call("exact", "many-well", "--sites", 2, "--depth", 1, "--tilt", 3, "--json")
    assert json.loads(tilted.stdout)["couplings"] == {"depth": 1, "tilt": 3}


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["exact", "gmm-2", "--sites", 3], 1, ["2 components", "leave it out"]),
        (["exact", "gmm-2", "--depth", 3], 2, ["no coupling depth", "it has beta"]),
        (["exact", "gmm-2", "--beta", 0], 1, ["beta must be greater than 0"]),
        (["exact", "gmm-2", "--beta", 100], 1, ["gmm-2 in 2 dimensions", "couplings nearer"]),
        (["exact", "many-well", "--sites", 3], 1, ["pairs", "even number"]),
        (["exact", "many-well"], 2, ["--sites"]),
        (["train", "r", "--theory", "gmm-2", "--sites", 3], 1, ["leave it out"]),
        (["train", "r", "--theory", "many-well"], 2, ["--sites"]),
        (["train", "r", "--theory", "gmm-2", "--field", "hollow"], 1, ["use mlp"]),
        (["train", "r", "--theory", "gmm-2", "--base", "gaussian"], 1, ["use normal"]),
        (
            ["train", "r", "--theory", "phi4", "--sites", 4, "--interpolation", "diffusion"],
            1,
            ["phi4 is no Gaussian mixture"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(args, code, words):
    message = refused(*args, code=code)
    assert all(word in message for word in words)
    assert not Path("r").exists()


@pytest.mark.parametrize("name", [name for name in THEORIES if THEORIES[name].own_shape])
def test_a_theory_of_one_shape_is_configured_without(name):
    config = Config(theory=name)
    assert config == Config(theory=name, shape=(2,)) == Config.from_json(config.to_json())
    assert describe(config.make_theory()) == f"{name} in 2 dimensions"


def test_a_lattice_is_not_guessed():
    with pytest.raises(LatticeFlowsError, match="at least 2 sites"):
        Config(theory="phi4")


def test_exact_draws_are_an_ensemble(rng):
    theory = make("gmm-40")
    couplings = theory.from_values()
    draws = theory.exact(couplings).sample(rng, 500)
    Ensemble(theory, couplings, draws).save("e.nc")
    loaded = Ensemble.load("e.nc")
    assert loaded.theory == theory and loaded.configurations.tobytes() == draws.tobytes()
    call("plot", "e.nc")
