"""What exact answers say of a flow, on measurements made up for the purpose."""

import numpy as np
import pytest
from scipy.stats import norm

from lattice_flows.sampling.verdict import failed_forward, failed_log_z, largest_pull
from observables import Estimate, Measurement


def measured(pulls, n=100_000):
    observables = {f"o{i}": Estimate(1 + 0.1 * pull, 0.1) for i, pull in enumerate(pulls)}
    return Measurement(observables, None, 1.0, 1 / n, n)


def exact(measurement):
    return {name: Estimate(1.0, 0.0) for name in measurement.observables}


def test_the_threshold_is_that_of_the_largest_of_all():
    """200 000 sets of nine normal pulls: one in a hundred is beyond (t of 199 degrees: fewer)."""
    measurement = measured([0.5] * 8 + [-2.0])
    pull, worst, threshold = largest_pull(measurement, exact(measurement))
    assert (pull, worst) == (pytest.approx(2.0), "o8")
    largest = np.abs(np.random.default_rng(0).standard_normal((200_000, 9))).max(axis=1)
    assert 0.006 < np.mean(largest > threshold) < 0.01
    assert threshold > norm.isf(0.01 / 18) - 1e-3


def test_the_errors_of_a_reference_count():
    measurement = measured([3.0])
    reference = {"o0": Estimate(1.0, 0.1)}
    assert largest_pull(measurement, reference)[0] == pytest.approx(3 / np.sqrt(2))


def test_what_has_no_error_may_differ_by_what_was_not_seen():
    lost = Measurement({"mode": Estimate(0.0, 0.0)}, None, 0.5, 1e-3, 4000)
    assert largest_pull(lost, {"mode": Estimate(0.25, 0.0)})[0] == np.inf
    assert largest_pull(lost, {"mode": Estimate(0.004, 0.0)})[0] == 0


def test_a_reference_that_is_not_known_hides_no_other():
    """Of an almost even theory ⟨M⟩ is lost in rounding errors, and stands first in the table."""
    measurement = measured([0.0, 50.0])
    reference = {"o0": Estimate(np.nan, 0.0), "o1": Estimate(1.0, 0.0)}
    pull, worst, threshold = largest_pull(measurement, reference)
    assert (pull, worst) == (pytest.approx(50.0), "o1") and pull > threshold
    nothing = {name: Estimate(np.nan, 0.0) for name in reference}
    pull, _, threshold = largest_pull(measurement, nothing)
    assert pull <= threshold


def test_an_estimate_that_is_nan_agrees_with_nothing():
    lost = Measurement({"o": Estimate(np.nan, np.nan)}, None, 1.0, 1e-3, 1000)
    pull, _, threshold = largest_pull(lost, {"o": Estimate(0.0, 0.0)})
    assert pull > threshold


def test_one_effective_draw_has_a_threshold():
    few = Measurement({"o": Estimate(1.0, 0.1)}, None, 0.001, 1.0, 1000)
    assert largest_pull(few, {"o": Estimate(0.0, 0.0)})[2] > 4


def test_log_z_may_be_off_by_four_errors():
    assert failed_log_z(Estimate(10.39, 0.1), Estimate(10.0, 0.0)) == ()
    assert failed_log_z(Estimate(9.59, 0.1), Estimate(10.0, 0.0)) == ("log_z",)
    assert failed_log_z(Estimate(10.0 + 1e-6, 0.0), Estimate(10.0, 0.0)) == ()
    assert failed_log_z(Estimate(9.59, 0.1), Estimate(10.0, 0.03)) == ()  # .41 < 4 x .104
    assert failed_log_z(Estimate(np.nan, 0.1), Estimate(10.0, 0.0)) == ("log_z",)


def test_forward_ess_has_the_thresholds_of_the_weights():
    assert failed_forward(0.5, 4096) == ()
    assert failed_forward(3e-8, 4096) == ("forward_ess",)
    assert failed_forward(0.03, 1000) == ("forward_ess",)
    assert failed_forward(0.01, 10**6) == ("forward_ess",)
    assert failed_forward(None, 4096) == ("not_finite",)
