"""How far an estimate is from the truth, where its distribution is skewed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import theories
from observables import Estimate, reweighted
from theories import StripSolution

EXACT = Estimate(0.0, 0.0)
SIZES = st.floats(0.1, 10)


def test_normal_estimates_count_in_standard_errors():
    assert Estimate(3.0, 0.5).deviations(Estimate(1.0, 0.0)) == pytest.approx(4)
    assert Estimate(1.0, 0.3).deviations(Estimate(2.0, 0.4)) == pytest.approx(-2)
    assert Estimate(1.0, 0.0).deviations(Estimate(1.0, 0.0)) == 0
    assert Estimate(1.0, 0.0).deviations(Estimate(2.0, 0.0)) == -np.inf


@given(SIZES, SIZES, SIZES, SIZES, st.floats(-20, 20))
def test_the_ends_of_the_intervals_are_one_and_two(low, lower, high, higher, at):
    skewed = Estimate(at, 1.0, (at - low, at + high), (at - low - lower, at + high + higher))
    for distance, deviations in ((low, 1), (low + lower, 2), (-high, -1), (-high - higher, -2)):
        found = skewed.deviations(Estimate(at - distance, 0.0))
        assert found == pytest.approx(deviations, rel=1e-6)
    far = [skewed.deviations(Estimate(at - d, 0.0)) for d in np.linspace(-40, 40, 200)]
    assert np.all(np.diff(far) > 0)


def test_binder_cumulants_of_few_draws_are_judged_by_intervals():
    """Exact draws of M on 4×4. Errors are small where ⟨M⁴⟩ comes out small: many are far above.

    3000 sets of 256: of a normal distribution 4 ± 2 lie above 3. False alarms: below 1e-3.
    """
    theory = theories.make("phi4-hopping", (4, 4))
    exact = StripSolution(theory, theory.from_values(kappa=0.2, lam=0.02))
    m, density = exact.magnetization_distribution(4001)
    cumulative = np.cumsum(np.clip(density, 0, None))
    draws = np.interp(np.random.default_rng(4).random((3000, 256)), cumulative / cumulative[-1], m)
    truth = Estimate(exact.observables()["binder_cumulant"], 0.0)

    def binder(a):
        return (1 - a[..., 1] / (3 * a[..., 0] ** 2))[..., None]

    found = [reweighted(binder, np.stack([x**2, x**4], axis=1))[0] for x in draws]
    errors = np.array([(e.value - truth.value) / e.stderr for e in found])
    scores = np.array([e.deviations(truth) for e in found])
    assert np.corrcoef([e.value for e in found], [e.stderr for e in found])[0, 1] < -0.5
    assert np.sum(errors > 3) > 25 and np.sum(scores > 3) < 0.6 * np.sum(errors > 3)
    assert abs(scores.std() - 1) < abs(errors.std() - 1)
