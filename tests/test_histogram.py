"""Histograms of M: distance from the exact distribution, runs that are shared, the figure."""

import numpy as np
import pytest
import xarray
from helpers import untrained

from lattice_flows import papers as reproduce
from lattice_flows.figures.plots import save_figure
from lattice_flows.papers import histogram
from lattice_flows.papers.experiment import Settings
from lattice_flows.papers.record import reproduce as run_experiment

X = np.linspace(-1, 1, 201)
UNIFORM = np.full(201, 0.5)


def test_the_distance_of_evenly_spaced_draws_is_half_a_step():
    draws = np.random.default_rng(0).permutation(np.linspace(-0.9, 0.9, 10))
    distance, stderr = histogram.kolmogorov(draws, X, UNIFORM)
    assert distance == pytest.approx(0.05)
    assert 0 < stderr <= 0.5 / np.sqrt(10)


def test_the_distance_of_a_lost_well_is_its_weight(rng):
    distance, stderr = histogram.kolmogorov(rng.uniform(0, 1, 10_000), X, UNIFORM)
    assert abs(distance - 0.5) < 0.001 and 0 < stderr <= 0.005


def test_the_distance_of_exact_draws_is_small(rng):
    distance, _ = histogram.kolmogorov(rng.uniform(-1, 1, 10_000), X, UNIFORM)
    assert 0.002 < distance < 0.02


def test_rows_file_and_figure(tmp_path, monkeypatch):
    """At one coupling, untrained: the deformation's flow keeps P(M>0) all the same, it is odd."""
    monkeypatch.setattr(histogram, "trained", untrained)
    monkeypatch.setattr(histogram, "_DRAWS", 2048)
    monkeypatch.setattr(histogram, "MASSES", (0.25,))
    record = run_experiment(reproduce.find("histogram"), Settings())
    assert [row.quantity for row in record.rows] == [
        f"{what} at m = 0.25, {training}"
        for training in ("deformation", "reverse KL")
        for what in ("Kolmogorov distance", "P(M>0)")
    ]
    distance, positive, *_ = record.rows
    assert abs(positive.ours.value - positive.exact) < 5 * positive.ours.stderr
    assert 0 < distance.ours.value < 0.5
    record.save(tmp_path / "a.nc")
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        widths = file["bin_edge"].diff("bin_edge_index").values
        np.testing.assert_allclose(np.sum(widths * file["histogram"].values, axis=2), 1)
    save_figure(record.figure(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
