"""Observables against theories whose every number is known."""

import json

import jax
import numpy as np
import pytest
from helpers import Independent, Shift
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from observables import LONG_NAMES, Estimate, Measurement, average, magnetization, measure
from observables.invariance import Invariance
from observables.orbit import actions, orbit_average
from theories import DoubleWell, FreeField, Phi4
from theories.errors import LatticeFlowsError


def propose(theory, couplings, rng, n, centre=0.1, width=1.1):
    """Draws from independent normal distributions, and their log-weights."""
    x = rng.normal(centre, width, size=(n, *theory.shape))
    log_q = norm.logpdf(x, centre, width).reshape(n, -1).sum(axis=1)
    return x, -actions(theory, couplings, x) - log_q


def coverage(replicas, experiment, exact):
    hits = {name: [] for name in exact}
    for _ in range(replicas):
        measured = experiment()
        assert measured.reliable
        for name, estimate in {**measured.observables, "log_z": measured.log_z}.items():
            hits[name].append(abs(estimate.value - exact[name]) < estimate.stderr)
    return {name: np.mean(hit) for name, hit in hits.items()}


def test_error_bars_cover_the_truth():
    """68 % of 600 repetitions within one standard error, for every observable."""
    theory, couplings, rng = Independent((4, 3)), Shift(), np.random.default_rng(4)
    exact = theory.exact(couplings)
    covered = coverage(
        600, lambda: measure(theory, couplings, *propose(theory, couplings, rng, 800)), exact
    )
    assert set(covered) == set(LONG_NAMES)
    assert all(0.62 <= share <= 0.74 for share in covered.values()), covered


def test_error_bars_cover_the_truth_between_two_wells():
    """φ⁴ on two sites: exact by quadrature, drawn cell by cell from a theory at other couplings."""
    theory = Phi4((2,))
    target, other = theory.from_values(m=0.9, alpha=0.05), theory.from_values(m=0.83)
    width = 0.04
    line = np.arange(-6 + width / 2, 6, width)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)

    p = np.exp(-actions(theory, target, grid))
    z = p.sum() * width**2
    p /= p.sum()
    m = grid.mean(axis=1)
    m1, abs_m, m2, m4 = p @ m, p @ np.abs(m), p @ m**2, p @ m**4
    exact = {
        "magnetization": m1,
        "abs_magnetization": abs_m,
        "susceptibility": 2 * (m2 - m1**2),
        "susceptibility_abs": 2 * (m2 - abs_m**2),
        "binder_cumulant": 1 - m4 / (3 * m2**2),
        "phi2": p @ (grid**2).mean(axis=1),
        "phi4": p @ (grid**4).mean(axis=1),
        "action_density": p @ actions(theory, target, grid) / 2,
        "positive_mode_weight": p @ np.heaviside(m, 0.5),
        "log_z": np.log(z),
    }

    q = np.exp(-actions(theory, other, grid))
    q /= q.sum()
    rng, n = np.random.default_rng(13), 800

    def experiment():
        cells = rng.choice(len(grid), n, p=q)
        x = grid[cells] + rng.uniform(-width / 2, width / 2, size=(n, 2))
        log_w = -actions(theory, target, x) - np.log(q[cells] / width**2)
        return measure(theory, target, x, log_w)

    assert 0.6 < experiment().ess < 0.9
    covered = coverage(400, experiment, exact)
    assert all(0.62 <= share <= 0.74 for share in covered.values()), covered


def test_many_draws_agree_with_the_closed_forms():
    theory, couplings = Independent((8,)), Shift(-0.4)
    x, log_w = propose(theory, couplings, np.random.default_rng(5), 400_000, centre=-0.2)
    measured = measure(theory, couplings, x, log_w)
    for name, estimate in {**measured.observables, "log_z": measured.log_z}.items():
        exact = theory.exact(couplings)[name]
        assert abs(estimate.value - exact) < 4 * estimate.stderr, name
        assert estimate.stderr < 0.01 * abs(exact) + 0.002, name


def test_draws_without_weights():
    theory, couplings = Independent((8,)), Shift()
    x = np.random.default_rng(6).normal(couplings.shift, 1, size=(20_000, 8))
    measured = measure(theory, couplings, x)
    assert measured.log_z is None
    assert (measured.ess, measured.n, measured.reliable) == (1, 20_000, True)
    for name, estimate in measured.observables.items():
        assert abs(estimate.value - theory.exact(couplings)[name]) < 4 * estimate.stderr, name


@pytest.mark.parametrize(
    "theory", [Phi4((5,)), Phi4((3, 4)), FreeField((2, 2, 3)), DoubleWell((6,))], ids=str
)
def test_action_on_the_host_is_the_action_of_the_theory(theory):
    couplings = theory.from_values()
    phi = np.random.default_rng(7).normal(size=(6, *theory.shape))
    expected = jax.vmap(lambda one: theory.action(one, couplings))(jax.numpy.asarray(phi))
    tolerance = 1e-12 if expected.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(actions(theory, couplings, phi), expected, rtol=tolerance)


def test_a_symmetric_theory_has_no_magnetization_exactly():
    theory = Phi4((8,))
    couplings = theory.from_values(alpha=0.0)
    phi = np.random.default_rng(8).normal(1, 1, size=(300, 8))
    observables = measure(theory, couplings, phi).observables
    assert observables["magnetization"] == (0, 0)
    assert observables["positive_mode_weight"].value == pytest.approx(0.5, rel=1e-12)
    assert observables["positive_mode_weight"].stderr == 0
    assert observables["abs_magnetization"].value > 0.9


def test_the_orbit_average_does_not_see_which_sign_was_drawn():
    theory, couplings = Independent((8,)), Shift()
    x = np.random.default_rng(9).normal(couplings.shift, 1, size=(4000, 8))
    in_one_well = x * np.sign(magnetization(x))[:, None]
    left, right = measure(theory, couplings, x), measure(theory, couplings, in_one_well)
    for name in left.observables:
        np.testing.assert_allclose(left.observables[name], right.observables[name], rtol=1e-8)


def test_the_orbit_average_lowers_the_error():
    theory, couplings = Independent((8,)), Shift()
    x = np.random.default_rng(10).normal(couplings.shift, 1, size=(4000, 8))
    plain = average(magnetization(x) > 0)
    averaged = measure(theory, couplings, x).observables["positive_mode_weight"]
    assert averaged.stderr < 0.8 * plain.stderr
    assert abs(averaged.value - plain.value) < 4 * plain.stderr


def test_orbit_probability_survives_huge_actions():
    action, minus = np.array([1e6, 0.0, 5.0]), np.array([0.0, 1e6, 5.0])
    one, other = np.ones(3), np.zeros(3)
    np.testing.assert_allclose(orbit_average(one, other, action, minus), [0, 1, 0.5])


def test_lost_overlap_is_flagged_where_the_error_bar_is_too_small():
    """A proposal half as wide as the target: φ² is far off in standard errors, and not reliable."""
    theory, couplings, rng = Independent((16,)), Shift(), np.random.default_rng(11)
    exact = theory.exact(couplings)["phi2"]
    worst = 0.0
    for _ in range(20):
        x, log_w = propose(theory, couplings, rng, 2000, centre=couplings.shift, width=0.5)
        measured = measure(theory, couplings, x, log_w)
        assert not measured.reliable
        estimate = measured.observables["phi2"]
        worst = max(worst, abs(estimate.value - exact) / estimate.stderr)
    assert worst > 3


def test_one_draw_with_all_the_weight_has_an_infinite_error_and_valid_json():
    theory, couplings = Independent((4,)), Shift()
    log_w = np.zeros(500)
    log_w[17] = 800.0
    measured = measure(theory, couplings, np.random.default_rng(12).normal(size=(500, 4)), log_w)
    assert not measured.reliable
    assert measured.observables["phi2"].stderr == np.inf
    report = json.loads(json.dumps(measured.as_json(), allow_nan=False))
    assert report["observables"]["phi2"]["stderr"] is None
    assert report["log_z"]["value"] == pytest.approx(800 - np.log(500), abs=1)
    known = {"observables", "log_z", "ess", "max_weight_share", "reliable", "failed", "n"}
    assert set(report) == known | {"invariance"}
    assert report["failed"] == ["effective_draws", "weight_share", "overlap", "errors"]
    assert Measurement.from_json(report) == measured


@settings(max_examples=50)
@given(
    value=st.floats(allow_infinity=False),
    stderr=st.floats(min_value=0),
    low=st.floats(allow_nan=False, allow_infinity=False),
    failed=st.sets(st.sampled_from(["overlap", "errors"])),
    moved=st.booleans(),
)
def test_a_report_holds_the_whole_measurement(value, stderr, low, failed, moved):
    found = Estimate(value, stderr, interval_68=(low, low + 1))
    invariance = Invariance(3.0, 2.5, "phi2", 2, 4096) if moved else None
    measured = Measurement(
        {"phi2": found}, found, 0.5, 0.1, 512, tuple(failed), invariance=invariance
    )
    report = json.loads(json.dumps(measured.as_json(), allow_nan=False))
    again = Measurement.from_json(report)
    assert again.as_json() == report
    assert (again.failed, again.invariance) == (measured.failed, invariance)
    assert again.observables["phi2"].intervals == found.intervals


@pytest.mark.parametrize(
    ("configurations", "log_weights", "message"),
    [
        (np.zeros((10, 5)), None, "do not fit the lattice"),
        (np.zeros((1, 4)), None, "at least 2 configurations"),
        (np.full((10, 4), np.nan), None, "10 of 10 configurations"),
        (np.full((10, 4), 1e200), None, "not finite"),
        (np.zeros((10, 4)), np.zeros(9), "one for each of 10"),
        (np.zeros((10, 4)), np.full(10, -np.inf), "10 of 10 log-weights"),
    ],
)
def test_bad_input_is_refused_in_one_line(configurations, log_weights, message):
    with pytest.raises(LatticeFlowsError, match=rf"^[^\n]*{message}[^\n]*$"):
        measure(Independent((4,)), Shift(), configurations, log_weights)
