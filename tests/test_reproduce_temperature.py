"""reproduce temperature: rows, file and figure of untrained flows, against KL of normals."""

import jax
import numpy as np
import pytest
import xarray

from lattice_flows import papers as reproduce
from lattice_flows.figures.plots import save_figure
from lattice_flows.flows.model import build
from lattice_flows.papers import temperature
from lattice_flows.papers.experiment import Settings
from lattice_flows.papers.record import reproduce as run_experiment
from lattice_flows.runs.config import Config
from lattice_flows.sampling.sampler import Sampler
from theories import SixGaussians


def untrained(settings, config, known=None):
    """A small flow as it begins, after a second of training; of one kind, whatever the objective,
    so that it is compiled once."""
    config = Config("gmm-6", (2,), config.couplings, base_width=4.0, width=4, ode_steps=4)
    model = build(config)
    return Sampler(config, model, model.init(jax.random.key(config.seed)), {}), 1.0


def test_rows_file_and_figure(tmp_path, monkeypatch):
    """Untrained flows are their base, N(0, 16/β): KL(p‖q) = -H(p) + ln(2π 16/β) + β⟨x²⟩/16 with the
    entropy by ⟨log p⟩ over other draws; to 6 of the errors (12 comparisons)."""
    for name in ("TEMPERATURES", "SHOWN"):
        monkeypatch.setattr(temperature, name, (0.20691, 1.0, 4.83293))
    monkeypatch.setattr(temperature, "train_afresh", untrained)
    monkeypatch.setattr(temperature, "_SAMPLES", 1000)
    monkeypatch.setattr(temperature, "_SHOWN_DRAWS", 1000)
    record = run_experiment(reproduce.find("temperature"), Settings())
    record.save(tmp_path / "a.nc")
    theory = SixGaussians()
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        assert list(file["way"].values) == ["reweighting", "TRADE", "reverse KL", "deformation"]
        for i, t in enumerate(file["temperature"].values):
            couplings = theory.from_values(beta=1 / t)
            exact = theory.exact(couplings)
            draws = exact.sample(np.random.default_rng(5), 20_000)
            actions = jax.vmap(lambda x, c=couplings: theory.action(x, c))(draws)
            for way, beta in enumerate([1.0, 1 / t, 1 / t, 1 / t]):
                size = 2 * exact.observables()["second_moment"]
                expected = np.log(32 * np.pi / beta) + beta * size / 32
                expected -= float(actions.mean()) + exact.log_z
                found, error = file["kl_forward"][way, i], file["kl_forward_stderr"][way, i]
                noise = float(actions.std()) / np.sqrt(20_000)
                assert abs(found - expected) < 6 * np.hypot(error, noise)
        np.testing.assert_array_equal(file["cpu_seconds"], [1, 2, 1, 1])
    assert record.rows[0].ours.value > 0.1 and record.rows[-1].ours.value == pytest.approx(1.0)
    save_figure(record.figure(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
