"""Samples a slice at a time: the same estimates as of all at once."""

import itertools

import numpy as np
import pytest

from lattice_flows.ensembles.ensemble import Ensemble
from observables import slicing
from theories import DoubleWell, Phi4
from theories.errors import LatticeFlowsError


def drawn(theory, rng, n, weighted):
    """Of a free field: the correlator decays as a cosh."""
    squared = 2 - 2 * np.cos(2 * np.pi * np.arange(theory.shape[0]) / theory.shape[0])
    amplitude = (0.3 + squared).reshape(-1, *[1] * (len(theory.shape) - 1)) ** -0.5
    noise = rng.normal(size=(n, *theory.shape))
    phi = np.fft.ifft(np.fft.fft(noise, axis=1) * amplitude, axis=1).real
    log_w = rng.normal(-900, 0.5, n) if weighted else None  # e^{-900} is 0 in double precision
    return Ensemble(theory, theory.from_values(), phi, log_w)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("theory", [Phi4((8,)), DoubleWell((6,)), Phi4((2, 2))], ids=str)
def test_groups_of_draws_give_the_same_estimates(theory, weighted, rng, monkeypatch):
    """3,001 draws in 400 groups of 7 or 8, by slices of 100; equal but for rounding."""
    ensemble = drawn(theory, rng, 3001, weighted)
    whole = ensemble.measure(), ensemble.derivatives(["lam"])
    correlator = ensemble.correlator() if theory.shape[0] > 3 else None
    monkeypatch.setattr(slicing, "_GROUPS", 400)
    monkeypatch.setattr(slicing, "_SLICE", 100)
    parts = ensemble.measure(), ensemble.derivatives(["lam"])
    for one, other in ((whole[0].observables, parts[0].observables), (whole[1], parts[1])):
        for name, estimate in one.items():
            assert other[name].value == pytest.approx(estimate.value, rel=1e-9, abs=1e-9), name
            assert other[name].stderr == pytest.approx(estimate.stderr, rel=1e-7, abs=1e-9), name
    assert (parts[0].log_z, parts[0].ess, parts[0].n) == (whole[0].log_z, whole[0].ess, 3001)
    if correlator:
        np.testing.assert_allclose(ensemble.correlator().value, correlator.value, rtol=1e-9)
        np.testing.assert_allclose(ensemble.correlator().stderr, correlator.stderr, rtol=1e-7)


def test_a_group_stands_for_its_draws(rng, monkeypatch):
    """Sums over any blocks with borders between groups: against plain sums."""
    monkeypatch.setattr(slicing, "_GROUPS", 10)
    x, log_w = rng.normal(size=(57, 2)), rng.normal(size=57)
    samples, log_weights = slicing.sampled(lambda phi: phi**2, x, log_w)
    ends = np.arange(11) * 57 // 10
    for i, (a, b) in enumerate(itertools.pairwise(ends)):
        w = np.exp(log_w[a:b])
        assert log_weights[i] == pytest.approx(np.log(w.sum()))
        np.testing.assert_allclose(samples[i], w @ x[a:b] ** 2 / w.sum())
    every, same = slicing.sampled(lambda phi: phi**2, x, log_w, grouped=False)
    np.testing.assert_array_equal(every, x**2)
    np.testing.assert_array_equal(same, log_w)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_in_any_slice(bad, rng, monkeypatch):
    monkeypatch.setattr(slicing, "_SLICE", 10)
    for row in (0, 55):
        x = rng.normal(size=(57, 2))
        x[row, 1] = bad
        with pytest.raises(LatticeFlowsError, match=r"1 of 57 configurations"):
            slicing.sampled(lambda phi: phi, x)
    with pytest.raises(LatticeFlowsError, match="at least 2"):
        slicing.sampled(lambda phi: phi, x[:1])
