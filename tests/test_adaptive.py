"""Where an adaptive scan puts its next point."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_flows.sampling.adaptive import next_coupling
from theories.errors import LatticeFlowsError

LINE = np.linspace(0, 1, 6)
FLAT, SMALL, FULL = np.ones(6), np.full(6, 0.01), np.ones(6)


def test_where_nothing_stands_out_the_longest_interval_is_halved():
    x = np.array([0, 0.3, 1.0, 0.5])
    assert next_coupling(x, np.ones(4), np.full(4, 0.1), np.ones(4)) == 0.75
    assert next_coupling(LINE[:2], FLAT[:2], SMALL[:2], FULL[:2]) == 0.1


def test_a_straight_line_needs_no_more_points_than_elsewhere():
    assert next_coupling(LINE, 7 * LINE, SMALL, FULL) == pytest.approx(0.1)


def test_a_peak_gets_the_next_points():
    def peak(x):
        return np.exp(-((x - 0.62) ** 2) / 0.01)

    x = np.linspace(0, 1, 6)
    for _ in range(12):
        x = np.append(x, next_coupling(x, peak(x), np.full(len(x), 0.005), np.ones(len(x))))
    close = np.sum(np.abs(x - 0.62) < 0.2)
    assert close >= 10  # of 18, on two fifths of the range


def test_bends_count_in_units_of_their_errors():
    """Two equal peaks, one of them measured ten times as well."""
    x = np.linspace(0, 1, 9)
    values = np.where(np.isin(np.arange(9), (2, 6)), 1.0, 0.0)
    errors = np.where(x < 0.5, 0.1, 0.01)
    assert next_coupling(x, values, errors, np.ones(9)) > 0.5
    assert next_coupling(x, values, errors[::-1], np.ones(9)) < 0.5


def test_noise_is_no_bend():
    """Values that scatter by their errors: far intervals are halved before short ones."""
    rng = np.random.default_rng(0)
    x = np.concatenate([np.linspace(0, 0.5, 11), [1.0]])
    hits = [
        next_coupling(x, rng.normal(0, 0.1, 12), np.full(12, 0.1), np.ones(12)) == 0.75
        for _ in range(100)
    ]
    assert np.mean(hits) > 0.95


def test_uneven_weights_attract_points():
    ess = np.array([0.9, 0.9, 0.9, 0.3, 0.9, 0.9])
    assert next_coupling(LINE, FLAT, SMALL, ess) == pytest.approx(0.5)


def test_what_has_no_error_has_no_bend():
    values, errors = FLAT.copy(), SMALL.copy()
    values[2], errors[2] = 50, np.inf
    assert next_coupling(LINE, values, errors, FULL) == pytest.approx(0.1)
    values[2], errors[2] = np.nan, np.nan
    assert next_coupling(LINE, values, errors, FULL) == pytest.approx(0.1)
    assert next_coupling(LINE, LINE**2, 0 * SMALL, FULL) == pytest.approx(0.1)


points = st.lists(
    st.tuples(
        st.floats(-2, 2, width=32),
        st.floats(-10, 10),
        st.floats(0, 1),
        st.floats(0.01, 1),
    ),
    min_size=2,
    max_size=12,
    unique_by=lambda point: point[0],
)


@given(points, st.randoms())
def test_it_is_a_new_point_between_others_whatever_their_order(rows, random):
    x, values, errors, ess = np.array(rows).T
    found = next_coupling(x, values, errors, ess)
    assert x.min() < found < x.max() and found not in x
    random.shuffle(rows)
    assert next_coupling(*np.array(rows).T) == found


@pytest.mark.parametrize("x", [[0.5], [0.5, 0.5, 0.5]])
def test_one_coupling_is_no_range(x):
    with pytest.raises(LatticeFlowsError, match=r"^an adaptive scan starts from two[^\n]*$"):
        next_coupling(x, np.ones(len(x)), np.ones(len(x)), np.ones(len(x)))
