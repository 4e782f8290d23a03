"""reproduce trade, on a chain, where the transfer matrix has the answers."""

import jax
import numpy as np
import pytest
import xarray
from helpers import untrained

from lattice_flows import papers as reproduce
from lattice_flows.figures.plots import save_figure
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.papers import drawn, trade
from lattice_flows.papers.exact_curves import _curve
from lattice_flows.papers.experiment import Settings
from lattice_flows.papers.record import reproduce as run_experiment
from lattice_flows.runs.config import Config
from theories import LatticeFlowsError, Phi4Hopping, TransferMatrix


def test_rows_file_and_figure(tmp_path, monkeypatch):
    """Chains are right to 4 σ (3 couplings, 4 observables), and untrained flows' likelihood is
    no higher than the entropy allows: NLL = -⟨log q⟩_p ≥ -⟨log p⟩_p = ⟨S⟩ + log Z."""
    monkeypatch.setattr(trade, "trained", untrained)
    monkeypatch.setattr(trade, "SHAPE", (4,))
    monkeypatch.setattr(trade, "_POINTS", 3)
    monkeypatch.setattr(trade, "_PER_CHAIN", 16)
    record = run_experiment(reproduce.find("trade"), Settings(runs=tmp_path))
    record.save(tmp_path / "a.nc")
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        np.testing.assert_allclose(file["kappa"], [0.22, 0.27, 0.32])
        for i, kappa in enumerate(file["kappa"].values):
            theory = Phi4Hopping((4,))
            exact = TransferMatrix(theory, theory.from_values(kappa=float(kappa), lam=0.02))
            answers = exact.observables()
            for name in trade.OBSERVABLES:
                column = f"{name}_hmc"
                assert abs(file[column][i] - answers[name]) < 4 * file[f"{column}_stderr"][i]
                known, told = (float(file[f"{name}_exact{of}"][i]) for of in ("", "_accuracy"))
                assert abs(known - answers[name]) <= told + 1e-10 and told < 1e-4
            entropy = 4 * answers["action_density"] + exact.log_z
            excess = file["nll"][:, i] - entropy
            assert np.all(-4 * file["nll_stderr"][:, i] < excess) and np.all(excess < 4)
        lowest = dict(zip(trade.WAYS, file["ess"].values.min(axis=1), strict=True))
    ours = {row.quantity: row.ours.value for row in record.rows}
    for way, ess in lowest.items():
        (found,) = (v for k, v in ours.items() if "lowest ESS" in k and k.endswith(way))
        assert found == ess and 0 < ess < 1
    save_figure(record.figure(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")

    def never(*arguments, **more):
        raise AssertionError("what is kept is not drawn again")

    monkeypatch.setattr(drawn, "hmc", never)
    monkeypatch.setattr(drawn.Sampler, "draw_line", never)
    again = run_experiment(reproduce.find("trade"), Settings(runs=tmp_path))
    assert again.rows == record.rows


def test_curves_leave_out_what_is_not_known():
    """What is NaN at a point is interpolated, and its error holds the difference."""
    points = -np.cos(np.pi * np.arange(13) / 12)
    solved = [{"f": np.exp(x), "f_accuracy": 1e-9} for x in points]
    solved[9]["f"] = np.nan
    x = np.linspace(-1, 1, 50)
    curve = _curve("f", solved, points, x)
    assert np.all(np.abs(curve.value - np.exp(x)) <= curve.error) and curve.error.max() < 1e-5
    solved[0]["f"] = np.nan
    curve = _curve("f", solved, points, x)
    assert np.all(np.isnan(curve.value) == (x < points[1]))
    for one in solved[:7]:
        one["f"] = np.nan
    with pytest.raises(LatticeFlowsError, match="not known well enough"):
        _curve("f", solved, points, x)


def test_interrupted_chains_are_carried_on(tmp_path):
    """Point by point, to the same numbers as without an interruption."""
    flow = untrained(Settings(), "any", Config("phi4-hopping", (4,), {"kappa": 0.27, "lam": 0.02}))
    grid = [flow.theory.from_values(kappa=kappa, lam=0.02) for kappa in (0.25, 0.27, 0.29)]

    def draw(folder, interrupted):
        settings = Settings(runs=folder, interrupted=interrupted)
        parts = drawn.parts_of(settings, [flow])
        return drawn.of_chains(settings, [flow], grid, jax.random.key(1), (8, 8), parts)

    whole = draw(tmp_path / "whole", lambda: False)
    for _ in grid:
        with pytest.raises(Interrupted, match="give the same command again"):
            draw(tmp_path / "parts", lambda: True)
    kept = draw(tmp_path / "parts", lambda: True)
    assert [a.r_hat for a in kept] == [a.r_hat for a in whole]
    for one, other in zip(kept, whole, strict=True):
        assert one.measurement.observables == other.measurement.observables
        assert one.likelihood == other.likelihood
