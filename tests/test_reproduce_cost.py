"""reproduce cost: every way meets the errors asked for, and tells the exact numbers."""

import jax
import numpy as np
import pytest
import xarray

from lattice_flows import papers as reproduce
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.figures.plots import save_figure
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.papers import cost
from lattice_flows.papers.experiment import Settings
from lattice_flows.papers.record import reproduce as run_experiment
from lattice_flows.papers.runs import train_afresh
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.training.trainer import train
from theories import Phi4, TransferMatrix


@pytest.fixture
def small(monkeypatch):
    for name, value in {
        "_SITES": 4,
        "_POINTS": 3,
        "_RANGE": (0.25, 0.4),
        "_CHI": 0.05,
        "_LOG_Z": 0.05,
    }.items():
        monkeypatch.setattr(cost, name, value)


def exact_draws(settings, grid):
    """A flow that is perfect, at two of the points."""

    def draw(n, key):
        rng = np.random.default_rng(int(jax.random.randint(key, (), 0, 1 << 30)))
        made = []
        for couplings in (grid[0], grid[2]):
            exact = TransferMatrix(Phi4((4,)), couplings)
            noise = rng.normal(0, 0.1, n)
            log_weights = exact.log_z + noise - 0.005  # ⟨e^noise⟩ = e^0.005
            made.append(Ensemble(Phi4((4,)), couplings, exact.sample(rng, n), log_weights))
        return cost._told(made)

    numbers, drawing = cost._until_good(settings, draw)
    return cost.Scan([0, 2], numbers, {"training": 1.5, "drawing": drawing})


def test_chains_and_flows_tell_exact_numbers_to_the_errors_asked_for(small, tmp_path, monkeypatch):
    """5 × 2 numbers within 4 σ of exact: false-alarm rate below 1e-3."""
    monkeypatch.setattr(cost, "WAYS", {"flow": exact_draws, "chains": cost._chains})
    record = run_experiment(reproduce.find("cost"), Settings())
    record.save(tmp_path / "a.nc")
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        assert list(file["way"].values) == ["flow", "chains"]
        assert np.isfinite(file["chi"]).sum(axis=1).values.tolist() == [2, 3]
        for i, m in enumerate(file["m"].values):
            exact = TransferMatrix(Phi4((4,)), Phi4.Couplings(m=float(m)))
            for name, answer in (("chi", exact.susceptibility), ("log_z", exact.log_z)):
                value, error = file[name].values[:, i], file[f"{name}_stderr"].values[:, i]
                assert not np.any(np.abs(value - answer) > 4 * error), (name, m)
                assert not np.any(error > 0.05 * (answer if name == "chi" else 1))
        seconds = file["cpu_seconds"].sum("part").values
    totals = [row.ours.value for row in record.rows if "seconds, all" in row.quantity]
    np.testing.assert_allclose(totals, seconds)
    save_figure(record.figure(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_all_draws_are_paid_for_until_errors_are_small(small, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(cost.time, "process_time", lambda: next(clock))
    asked = []

    def draw(n, key):
        asked.append(n)
        next(clock)
        error = 0.15 * np.sqrt(2048 / n)  # three times too large to begin with
        return cost.Numbers(np.ones(1), np.full(1, error), np.zeros(1), np.full(1, 0.01))

    _, spent = cost._until_good(Settings(), draw)
    assert asked == [2048, int(np.ceil(1.2 * 2048 * 9))] and spent == 3
    with pytest.raises(Interrupted, match="again"):
        cost._until_good(Settings(interrupted=lambda: True), lambda n, key: draw(2048, key))


@jax.numpy_dtype_promotion("standard")  # optax leans on it
def test_flow_that_is_kept_in_no_run_is_that_of_a_run(tmp_path):
    plain = {"field": "convolutional", "base": "ultralocal", "width": 4, "ode_steps": 4}
    config = Config("phi4", (4,), {"m": 0.3}, steps=30, batch=64, seed=3, **plain)
    fresh, seconds = train_afresh(Settings(), config)
    run = Run.create(tmp_path / "run", config)
    with jax.enable_x64(False):
        train(run, resume=False, report=lambda *_: None, interrupted=lambda: False)
    kept = Sampler.load(run)
    assert seconds > 0
    jax.tree.map(np.testing.assert_array_equal, fresh.params, kept.params)
    assert fresh.config == kept.config
