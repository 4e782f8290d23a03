"""Draws on their way: weights as draws of every p_t, and what is drawn of them."""

import numpy as np
import pytest
import xarray
from helpers import untrained

from lattice_flows import papers as reproduce
from lattice_flows.figures.plots import save_figure
from lattice_flows.papers import table1, table2, trajectories
from lattice_flows.papers.experiment import Settings
from lattice_flows.papers.record import reproduce as run_experiment


@pytest.fixture(scope="module")
def record():
    """The record of the experiment with flows untrained, on two paths from one base."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectories, "trained", untrained)
        patch.setattr(trajectories, "PATHS", ("learned", "diffusion"))
        patch.setattr(trajectories, "BASES", ("ultralocal",))
        patch.setattr(trajectories, "_DRAWS", 512)
        yield run_experiment(reproduce.find("trajectories"), Settings())


def test_at_the_start_the_draws_are_those_of_the_path(record):
    for name in ("ess", "share_found", "chain_ess"):
        np.testing.assert_allclose(record.variables[name].data[:, 0], 1, rtol=1e-6)


def test_the_weights_end_as_those_of_the_flow(monkeypatch):
    """At t = 1 they are those of the run's own draws, for a mixture and, symmetrised, a chain."""
    monkeypatch.setattr(trajectories, "_DRAWS", 64)
    settings = Settings()
    for run in (
        table1.run_of(settings, "gmm-2", "learned", 0),
        table2.deformation(settings, 1.0).run_of(0),
    ):
        sampler = untrained(settings, *run)
        couplings = sampler.theory.from_values(**sampler.config.check_couplings({}))
        draws, log_weights = trajectories.follow(sampler, 0, np.array([0.0, 1.0]))
        expected = sampler.log_weights(draws[1], couplings, 64)
        np.testing.assert_allclose(log_weights[1], expected, atol=1e-3)


def test_the_densities_are_normalised_and_end_in_the_mixture(record):
    density = record.variables["density"].data
    cell = (trajectories.GRID[1] - trajectories.GRID[0]) ** 2
    np.testing.assert_allclose(density.sum(axis=(2, 3)) * cell, 1)
    x, y = np.meshgrid(trajectories.GRID, trajectories.GRID, indexing="ij")
    first, second = ((x - a) ** 2 + (y - a) ** 2 for a in (4, -8))
    mixture = (np.exp(-first / 2) / 3 + 2 * np.exp(-second / 2) / 3) / (2 * np.pi)
    for path in density:
        np.testing.assert_allclose(path[0], np.exp(-(x**2 + y**2) / 8) / (8 * np.pi), atol=1e-7)
        np.testing.assert_allclose(path[-1], mixture, atol=1e-6)


def test_rows_file_and_figure(record, tmp_path):
    quantities = [row.quantity for row in record.rows]
    assert len(set(quantities)) == len(quantities) == 4 * (2 * 2 + 1)
    ess = record.variables["ess"].data[0, 2, 0]
    assert record.rows[quantities.index("ESS at t = 0.5, learned")].ours.value == ess
    share = record.rows[quantities.index("⟨w⟩/Z at t = 1, diffusion")]
    assert share.exact == 1 and share.ours.stderr > 0
    record.save(tmp_path / "a.nc")
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        assert list(file["path"].values) == ["learned", "diffusion"]
        assert file["draws"].sizes["draw"] == trajectories._DOTS
    save_figure(record.figure(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
