"""A small trained run, from the command line to its files: sampler, evaluation, scan."""

from pathlib import Path

import jax
import numpy as np
import pytest
import xarray
from click.testing import CliRunner, Result

from lattice_flows.runs.run import Run
from lattice_flows.sampling.evaluation import evaluate
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.scripts.cli import main
from theories import TransferMatrix

SIZES = "--sites 4 --m 0.25:1 --steps 200 --batch 128 --width 8 --ode-steps 8"
N = 2048  # draws of one size everywhere: what draws them is compiled once


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "small"
    with jax.numpy_dtype_promotion("standard"):  # optax leans on it
        result = call("train", path, "--theory", "phi4", *SIZES.split(), "--x64")
    assert result.exit_code == 0, result.output
    return Run.open(path)


@pytest.fixture(scope="module")
def sampler(run: Run) -> Sampler:
    return Sampler.load(run)


def test_training_lowers_the_loss(run: Run) -> None:
    losses = [record["loss"] for record in run.history()]
    assert losses[-1] < 0.2 * losses[0]


def test_draws_are_weighted_to_the_exact_answers(sampler: Sampler, key: jax.Array) -> None:
    """Fails by chance in about 1 of 1,500 (four pulls beyond 4 standard errors)."""
    couplings = sampler.theory.from_values(m=0.6, alpha=0.1)
    exact = TransferMatrix(sampler.theory, couplings).observables()
    measurement = sampler.draw(couplings, key, 2 * N).measure()
    assert measurement.log_z is not None
    found = {**measurement.observables, "log_z": measurement.log_z}
    for name in ("log_z", "abs_magnetization", "phi2", "positive_mode_weight"):
        assert abs(found[name].value - exact[name]) < 4 * found[name].stderr, name


def test_draws_repeat_with_the_key(sampler: Sampler, key: jax.Array) -> None:
    couplings = sampler.theory.from_values(m=0.5)
    first, second = (sampler.draw(couplings, key, N) for _ in range(2))
    np.testing.assert_array_equal(first.configurations, second.configurations)
    other = sampler.draw(couplings, jax.random.fold_in(key, 1), N)
    assert not np.any(first.configurations == other.configurations)


def test_weights_of_draws_are_those_of_the_flow_backwards(sampler: Sampler, key: jax.Array) -> None:
    couplings = sampler.theory.from_values(m=0.5)
    ensemble = sampler.draw(couplings, key, N)
    steps = 2 * sampler.flow.steps  # and as many as `evaluate` takes: compiled once
    backwards = sampler.log_weights(ensemble.configurations[:256], couplings, steps)
    assert ensemble.log_weights is not None
    np.testing.assert_allclose(backwards, ensemble.log_weights[:256], atol=1e-3)


def test_evaluate_agrees_with_its_formulas(sampler: Sampler, key: jax.Array) -> None:
    couplings = sampler.theory.from_values(m=0.5)
    found = evaluate(sampler, couplings, key, N)
    draws = sampler.draw(couplings, jax.random.split(key)[0], N)
    assert draws.log_weights is not None
    log_z = TransferMatrix(sampler.theory, couplings).log_z
    weights = np.exp(draws.log_weights - log_z)
    assert found.measurement.ess == pytest.approx(weights.sum() ** 2 / (weights**2).sum() / N)
    forward, kl_reverse = found.forward, found.kl_reverse
    assert forward and forward.kl and kl_reverse and found.exact
    assert kl_reverse.value == pytest.approx(-np.log(weights).mean())
    # both KLs are small and positive up to noise; five standard errors
    for kl in (kl_reverse, forward.kl):
        assert -5 * kl.stderr < kl.value < 0.2
    assert forward.ess is not None and 0.8 < forward.ess <= 1.01
    assert found.exact["log_z"] == log_z
    # where an error of the solver would weigh most
    heaviest = draws.configurations[np.argsort(-weights)[:256]]
    halved = sampler.log_weights(heaviest, couplings, 2 * sampler.flow.steps)
    change = np.abs(halved - np.sort(draws.log_weights)[:-257:-1]).max()
    assert found.log_q_step_halving == pytest.approx(change, rel=1e-6)


def test_scan_file(run: Run, tmp_path: Path) -> None:
    file, figure = tmp_path / "scan.nc", tmp_path / "scan.png"
    arguments = ("scan", run.path, "--m", "0.25:1:4", "-n", N, "-o", file, "--plot", figure)
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    assert figure.read_bytes().startswith(b"\x89PNG")
    with (
        xarray.open_dataset(file) as scan,
        xarray.open_dataset(file, group="exact_curve") as curve,
    ):
        assert scan.sizes["coupling_point"] == 4
        np.testing.assert_allclose(scan["m"], [0.25, 0.5, 0.75, 1.0])
        for name in ("magnetization", "susceptibility", "binder_cumulant", "log_z"):
            pulls = (scan[name] - scan[f"{name}_exact"]) / scan[f"{name}_stderr"]
            assert np.all(np.abs(pulls) < 5)
            assert f"{name}_curve" in curve
        assert {"ess", "max_weight_share", "reliable"} <= set(scan.variables)
