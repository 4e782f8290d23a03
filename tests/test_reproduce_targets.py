"""Experiments on targets in the plane and on ingredients: their rows, files and figures."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import xarray
from helpers import untrained

from lattice_flows import papers as reproduce
from lattice_flows.figures.plots import save_figure
from lattice_flows.papers import gmm40, ingredients, table1
from lattice_flows.papers.experiment import Settings
from lattice_flows.papers.record import reproduce as run_experiment
from lattice_flows.runs.config import Config


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_every_preset_is_a_training(preset):
    settings = Settings(preset=preset)
    for mixture in table1.MIXTURES:
        for method in table1.METHODS:
            name, config = table1.run_of(settings, mixture, method, 3)
            assert mixture in name and config.seed == 3
    for method, options in gmm40.METHODS.items():
        Config("gmm-40", (2,), steps=gmm40.STEPS[preset][method], **options)
    for variant in ingredients.VARIANTS.values():
        Config("phi4", (16,), variant.couplings, **variant.options)


def written(record, tmp_path):
    """The record in a file, and its figure."""
    record.save(tmp_path / "a.nc")
    save_figure(record.figure(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        return file.load()


def test_table1_has_the_papers_numbers_beside_ours(tmp_path, monkeypatch):
    """An untrained flow stays at the base: it covers next to nothing."""
    monkeypatch.setattr(table1, "trained", untrained)
    for name in ("_DRAWS", "_SHOWN"):  # of one size: what draws is compiled once
        monkeypatch.setattr(table1, name, 256)
    monkeypatch.setattr(table1, "METHODS", ("linear", "learned"))
    monkeypatch.setattr(table1, "MIXTURES", dict([next(iter(table1.MIXTURES.items()))]))
    record = run_experiment(reproduce.find("table1"), Settings())
    assert len(record.rows) == 2 * 3
    assert record.rows[0].quantity == "forward ESS, linear, eq. 2"
    assert record.rows[0].paper.value == 0.998 and record.rows[0].ours.value < 0.1
    file = written(record, tmp_path)
    assert file["coverage"].sizes == {"mixture": 1, "method": 2, "seed": 1}


def test_gmm40_counts_the_modes(tmp_path, monkeypatch):
    monkeypatch.setattr(gmm40, "trained", untrained)
    monkeypatch.setattr(gmm40, "_DRAWS", 128)
    monkeypatch.setattr(gmm40, "METHODS", {"linear": gmm40.METHODS["linear"]})
    record = run_experiment(reproduce.find("gmm40"), Settings())
    covered = record.rows[0]
    assert covered.exact == 40 and 0 < covered.ours.value < 40
    file = written(record, tmp_path)
    assert file["centre"].shape == (40, 2)


@jax.numpy_dtype_promotion("standard")  # optax leans on it
def test_ingredients_are_looked_at_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(ingredients, "_STEPS", {"quick": 40})
    monkeypatch.setattr(ingredients, "_BETWEEN", 20)
    monkeypatch.setattr(ingredients, "_SAMPLES", 128)
    monkeypatch.setattr(ingredients, "VARIANTS", {"oblivious": ingredients.VARIANTS["oblivious"]})
    record = run_experiment(reproduce.find("ingredients"), Settings())
    kl, ess, *_ = (row.ours.value for row in record.rows)
    assert kl > 1 and 0 < ess < 0.1
    file = written(record, tmp_path)
    assert list(file["step"]) == [20, 40]
    assert np.all(np.diff(file["cpu_seconds"][0, 0]) > 0)
