"""reproduce transfer: its ESS against partition functions, its rows, file and figure."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray

from lattice_flows import papers as reproduce
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.figures.plots import save_figure
from lattice_flows.papers import transfer
from lattice_flows.papers.experiment import Settings
from lattice_flows.papers.record import reproduce as run_experiment
from theories import Phi4, TransferMatrix

THEORY = Phi4((4,))


def perfect(settings, config, known=None):
    """A flow whose draws are exact, at any couplings, after a second of training."""

    def draw(couplings, key, n):
        exact = TransferMatrix(THEORY, couplings)
        phi = exact.sample(np.random.default_rng(1), n)
        return Ensemble(THEORY, couplings, phi, np.full(n, exact.log_z))

    def log_weights(phi, couplings):
        return np.full(len(phi), TransferMatrix(THEORY, couplings).log_z)

    sampler = SimpleNamespace(
        params=(),
        draw=draw,
        draw_grid=lambda grid, key, n: [draw(couplings, key, n) for couplings in grid],
        log_weights=log_weights,
        model=SimpleNamespace(path=SimpleNamespace(target=THEORY.action)),
    )
    return sampler, 1.0


def test_rows_file_and_figure(tmp_path, monkeypatch):
    """Perfect flows have ESS 1. Reweighting exact draws from m₀ to m has Z(m)²/Z(m₀)Z(2m - m₀),
    forward and reverse, to 5 % with 20000 draws (within 4 of their scatter over seeds)."""
    monkeypatch.setattr(transfer, "train_afresh", perfect)
    for name, value in {"_SITES": 4, "_POINTS": 4, "_RANGE": (0.25, 0.37)}.items():
        monkeypatch.setattr(transfer, name, value)
    for name in ("_DRAWS", "_SAMPLES"):
        monkeypatch.setattr(transfer, name, 20_000)
    record = run_experiment(reproduce.find("transfer"), Settings())
    record.save(tmp_path / "a.nc")

    def log_z(m):
        return TransferMatrix(THEORY, THEORY.from_values(m=m)).log_z

    with xarray.open_dataset(tmp_path / "a.nc") as file:
        ms = file["m"].values
        ways = list(file["way"].values)
        assert ways == ["reweighting", "TRADE", "transport", "amortised"]
        expected = [np.exp(2 * log_z(m) - log_z(0.25) - log_z(2 * m - 0.25)) for m in ms]
        for name in ("ess_reverse", "ess_forward"):
            np.testing.assert_allclose(file[name][0], expected, rtol=0.05)
            np.testing.assert_allclose(file[name][1:], 1, rtol=1e-12)
        np.testing.assert_array_equal(file["cpu_seconds"], [1, 2, 2, 1])
        assert 0.4 < expected[-1] < 0.9  # so that there was something to see
        lowest = float(file["ess_forward"][0].min())
    assert record.rows[0].ours.value == pytest.approx(lowest)
    assert record.rows[0].quantity == "lowest forward ESS (at m = 0.37), reweighting"
    save_figure(record.figure(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
