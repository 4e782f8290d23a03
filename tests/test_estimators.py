"""The jackknife against loops, closed forms and repeated experiments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observables import Estimate, average, jackknife
from observables.magnetization import binder_cumulant, susceptibility
from theories.errors import LatticeFlowsError


def identity(averages):
    return averages


def draws(n=500, k=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)) + 1, rng.normal(0, 0.7, n)


def test_delete_one_equals_the_loop_it_stands_for():
    samples, log_w = draws(60, 2)
    weights = np.exp(log_w)

    def ratio(averages):
        return averages[..., :1] ** 2 / averages[..., 1:]

    def estimate(keep):
        return ratio(np.average(samples[keep], axis=0, weights=weights[keep]))[0]

    everything = np.arange(60)
    without = np.array([estimate(everything != i) for i in everything])
    value, covariance = jackknife(ratio, samples, log_w, blocks=60)
    assert value[0] == pytest.approx(60 * estimate(everything) - 59 * without.mean(), rel=1e-10)
    expected = 59 / 60 * np.sum((without - without.mean()) ** 2)
    assert covariance[0, 0] == pytest.approx(expected, rel=1e-10)


def test_bias_correction_makes_the_susceptibility_the_unbiased_variance():
    samples, _ = draws(50, 1)
    moments = np.stack([samples[:, 0], samples[:, 0] ** 2], axis=1)
    value, _ = jackknife(lambda a: susceptibility(a[..., 1:], a[..., :1], 16), moments, blocks=50)
    assert value[0] == pytest.approx(16 * np.var(samples, ddof=1), rel=1e-10)


def test_average_is_the_ratio_and_its_error_the_linearised_one():
    samples, log_w = draws(20_000, 1)
    weights = np.exp(log_w)
    mean = np.average(samples[:, 0], weights=weights)
    linearised = np.sqrt(np.sum((weights * (samples[:, 0] - mean)) ** 2)) / weights.sum()
    estimate = average(samples[:, 0], log_w + 1e5)
    assert estimate.value == pytest.approx(mean, abs=0.01 * linearised)
    assert estimate.stderr == pytest.approx(linearised, rel=0.2)
    unweighted = average(samples[:, 0])
    assert unweighted.value == pytest.approx(samples.mean(), rel=1e-10)


def test_covariance_of_linear_functions_is_transformed_exactly():
    samples, log_w = draws()
    matrix = np.array([[1.0, 2.0, -1.0], [0.0, 1.0, 3.0]])
    _, covariance = jackknife(identity, samples, log_w)
    _, transformed = jackknife(lambda a: a @ matrix.T, samples, log_w)
    np.testing.assert_allclose(transformed, matrix @ covariance @ matrix.T, rtol=1e-9)


def test_correlations_cancel_in_functions_of_correlated_averages():
    samples, log_w = draws(1000, 1)
    pair = np.concatenate([samples, 3 * samples], axis=1)
    value, covariance = jackknife(lambda a: a[..., :1] / a[..., 1:], pair, log_w)
    assert value[0] == pytest.approx(1 / 3)
    assert covariance[0, 0] == 0


def test_blocks_carry_the_autocorrelation_of_a_chain():
    """AR(1) with coefficient a: the variance of the mean is (1+a)/(1-a) times the naive one."""
    rng, n, a = np.random.default_rng(3), 100_000, 0.8
    noise = rng.normal(size=n) * np.sqrt(1 - a**2)
    chain = np.empty(n)
    chain[0] = rng.normal()
    for i in range(1, n):
        chain[i] = a * chain[i - 1] + noise[i]
    assert average(chain).stderr == pytest.approx(np.sqrt((1 + a) / (1 - a) / n), rel=0.15)


def test_a_block_with_all_the_weight_has_no_error_bar():
    samples, _ = draws(10, 1)
    log_w = np.zeros(10)
    log_w[4] = 1000
    value, covariance = jackknife(identity, samples, log_w)
    assert value[0] == pytest.approx(samples[4, 0])
    assert np.all(np.isinf(covariance))


@given(st.integers(2, 450), st.integers(0, 10_000))
def test_any_number_of_draws_gives_a_finite_error(n, seed):
    samples, log_w = draws(n, 1, seed)
    value, covariance = jackknife(identity, samples, log_w)
    assert np.isfinite(value[0])
    assert np.isfinite(covariance[0, 0])
    assert covariance[0, 0] >= 0


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([[1.0]], "at least 2 configurations"),
        ([], "at least 2 configurations"),
        ([[1.0], [np.nan], [2.0]], "1 of 3 configurations have values that are not finite"),
        ([[1.0, np.inf], [1.0, np.nan], [2.0, 1.0]], "2 of 3"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_samples_are_refused_in_one_line(samples, message):
    with pytest.raises(LatticeFlowsError, match=rf"^[^\n]*{message}[^\n]*$"):
        jackknife(identity, samples)


@pytest.mark.usefixtures("unchecked")
def test_as_many_log_weights_as_samples():
    with pytest.raises(LatticeFlowsError, match="one for each of 500"):
        jackknife(identity, draws()[0], np.zeros(499))


def test_binder_cumulant_of_two_peaks_and_of_a_normal_distribution():
    assert binder_cumulant(2.0**4, 2.0**2) == pytest.approx(2 / 3)
    assert binder_cumulant(3 * 0.5**2, 0.5) == pytest.approx(0)


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (1.953058, 0.00421, "1.9531 ± 0.0042"),
        (-0.066178, 0.0101, "-0.066 ± 0.010"),
        (46.904, 1.26, "46.9 ± 1.3"),
        (100_432.0, 3_000.0, "100432 ± 3000"),
        (1.234e-9, 3.1e-11, "(1.234 ± 0.031)e-09"),
        (0.0, 0.0, "0 ± 0"),
        (1.5, np.inf, "1.5 ± inf"),
    ],
)
def test_an_estimate_prints_itself(value, stderr, text):
    assert str(Estimate(value, stderr)) == text
