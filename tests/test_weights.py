"""Importance weights against log-normal weights, where everything is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from observables import is_reliable, kish_ess, log_mean_weight, max_weight_share
from observables.weights import MAX_WEIGHT_SHARE, MIN_EFFECTIVE_DRAWS, MIN_ESS
from theories.errors import LatticeFlowsError

log_weight_arrays = arrays(np.float64, st.integers(1, 50), elements=st.floats(-50, 50))


@given(log_weight_arrays, st.floats(-1e4, 1e4))
def test_ess_and_share_stay_in_range_and_ignore_the_normalisation(log_w, shift):
    ess, share = kish_ess(log_w), max_weight_share(log_w)
    assert 1 / log_w.size * (1 - 1e-12) <= ess <= 1
    assert 1 / log_w.size * (1 - 1e-12) <= share <= 1
    assert np.isclose(kish_ess(log_w + shift), ess, rtol=1e-9)
    assert np.isclose(max_weight_share(log_w + shift), share, rtol=1e-9)
    assert np.isclose(log_mean_weight(log_w + shift).value, log_mean_weight(log_w).value + shift)


def test_known_weights():
    assert kish_ess(np.full(7, 3.0)) == 1
    assert kish_ess(np.array([0.0, -np.log(3)])) == pytest.approx(
        (1 + 1 / 3) ** 2 / (2 * (1 + 1 / 9))
    )
    assert max_weight_share(np.array([0.0, -np.log(3)])) == pytest.approx(3 / 4)
    assert kish_ess(np.array([0.0, -1e4, -1e4])) == pytest.approx(1 / 3)
    assert log_mean_weight(np.full(5, 1e4)) == (1e4, 0)
    assert log_mean_weight(np.array([-3.0])) == (-3.0, np.inf)


@pytest.mark.parametrize("spread", [0.2, 0.6, 1.0])
def test_log_normal_weights(spread):
    log_w = np.random.default_rng(1).normal(5, spread, 400_000)
    assert kish_ess(log_w) == pytest.approx(np.exp(-(spread**2)), rel=0.02)
    log_z = log_mean_weight(log_w)
    assert abs(log_z.value - 5 - spread**2 / 2) < 4 * log_z.stderr
    exact_error = np.sqrt(np.expm1(spread**2) / log_w.size)
    assert log_z.stderr == pytest.approx(exact_error, rel=0.03)


def test_log_z_covers_the_truth_and_is_unbiased():
    rng, spread, n, replicas = np.random.default_rng(2), 0.7, 400, 2000
    estimates = [log_mean_weight(rng.normal(-(spread**2) / 2, spread, n)) for _ in range(replicas)]
    values, errors = np.array(estimates).T
    assert 0.65 < np.mean(np.abs(values) < errors) < 0.71
    # uncorrected, the mean would be off by half the error squared: seven times this test's error
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(replicas)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", [kish_ess, max_weight_share, log_mean_weight])
def test_a_weight_that_is_no_number_is_refused(function, bad):
    with pytest.raises(LatticeFlowsError, match=r"^1 of 3 log-weights are not finite[^\n]*$"):
        function(np.array([0.0, bad, 1.0]))


@pytest.mark.parametrize("shape", [(0,), (3, 2), ()])
@pytest.mark.usefixtures("unchecked")
def test_log_weights_of_another_shape_are_refused(shape):
    with pytest.raises(LatticeFlowsError, match="shape"):
        kish_ess(np.zeros(shape))


def test_each_condition_of_the_gate_counts():
    n = 10 * MIN_EFFECTIVE_DRAWS
    assert is_reliable(0.9, 0.01, n)
    assert not is_reliable(0.9, 1.01 * MAX_WEIGHT_SHARE, n)
    assert not is_reliable(0.9, 0.01, MIN_EFFECTIVE_DRAWS)
    assert not is_reliable(0.99 * MIN_ESS, 0.01, 100 * n)
    assert not is_reliable(np.nan, np.nan, n)


@pytest.mark.parametrize("width", [0.3, 0.5, 0.6])
@pytest.mark.parametrize("seed", range(10))
def test_a_proposal_too_narrow_is_unreliable(width, seed):
    """16 sites, each drawn from N(0, width²) for N(0, 1): the weights have no variance."""
    x = width * np.random.default_rng(seed).normal(size=(5000, 16))
    log_w = np.sum(x**2 / 2 * (1 / width**2 - 1) + np.log(width), axis=1)
    assert not is_reliable(kish_ess(log_w), max_weight_share(log_w), len(log_w))
