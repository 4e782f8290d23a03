"""Distances between samples against scipy, brute force and closed forms.

Statistical tests have a fixed seed; 5 standard errors fail by chance once in 10⁶ times.
"""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist, directed_hausdorff
from scipy.stats import energy_distance as scipy_energy_distance
from scipy.stats import wasserstein_distance

from lattice_flows.sampling.distances import energy_distance, hausdorff, sliced_wasserstein


def test_the_energy_distance_is_scipy_s_without_its_bias(rng):
    """In one dimension scipy has the square root, of means over all pairs: a draw's own as well."""
    x, y = rng.normal(size=30), rng.normal(1, 2, size=40)
    within = [np.abs(np.subtract.outer(a, a)).mean() for a in (x, y)]
    excess = within[0] / 29 + within[1] / 39
    expected = scipy_energy_distance(x, y) ** 2 - excess
    assert energy_distance(x[:, None], y[:, None]) == pytest.approx(expected, rel=1e-12)


def test_the_energy_distance_is_its_sum(rng):
    x, y = rng.normal(size=(5, 2, 3)), rng.normal(size=(4, 2, 3))

    def mean(a, b):
        pairs = [
            np.sqrt(np.sum((p - q) ** 2))
            for i, p in enumerate(a)
            for j, q in enumerate(b)
            if a is not b or i != j
        ]
        return np.mean(pairs)

    expected = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-12)


def test_the_energy_distance_of_one_density_is_zero_on_average(rng):
    values = [energy_distance(*rng.normal(size=(2, 50, 3))) for _ in range(400)]
    assert abs(np.mean(values)) < 5 * np.std(values) / np.sqrt(400)
    assert min(values) < 0


def test_the_energy_distance_of_far_samples_is_twice_their_distance(rng):
    x, y = rng.normal(size=(2, 500, 2))
    y = y + np.array([3e4, 4e4])
    spread = 2 * np.sqrt(np.pi)  # E|X - X'| of each, X - X' of variance 2 in the plane
    assert energy_distance(x, y) == pytest.approx(1e5 - spread, abs=0.5)


def test_a_shift_is_what_sliced_wasserstein_measures(rng):
    """θ·c is |c| cos, whose square is |c|²/d on average over the 128 directions."""
    x, shift = rng.normal(size=(100, 4)), np.array([3.0, 0, -4, 0])
    values = [sliced_wasserstein(x, x[::-1] + shift, rng) ** 2 for _ in range(50)]
    assert abs(np.mean(values) - 25 / 4) < 5 * np.std(values) / np.sqrt(50)
    assert sliced_wasserstein(x, rng.permutation(x), rng) < 1e-12


def test_in_one_dimension_it_is_the_cost_of_the_best_assignment(rng):
    x, y = rng.normal(size=(60, 1)), rng.normal(0.5, 2, size=(60, 1))
    rows, columns = linear_sum_assignment(cdist(x, y, "sqeuclidean"))
    best = np.sqrt(np.mean((x[rows] - y[columns]) ** 2))
    found = sliced_wasserstein(x, y, rng)
    assert found == pytest.approx(best, rel=1e-12)
    assert found >= wasserstein_distance(x[:, 0], y[:, 0])


def test_it_is_below_the_distance_in_the_plane(rng):
    x, y = rng.normal(size=(50, 2, 1)), rng.normal(1, 2, size=(50, 2, 1))
    costs = cdist(x[..., 0], y[..., 0], "sqeuclidean")
    best = np.sqrt(costs[linear_sum_assignment(costs)].mean())
    found = sliced_wasserstein(x, y, rng)
    assert best / 2 < found < best


def test_hausdorff_is_directed_from_the_centres(rng):
    centres, draws = rng.normal(size=(4, 3)), rng.normal(size=(50, 3))
    expected = directed_hausdorff(centres, draws)[0]
    assert hausdorff(centres, draws) == pytest.approx(expected, rel=1e-12)


def test_hausdorff_tells_a_missed_mode():
    centres = np.array([[8.0, 8], [-8, -8]])
    assert hausdorff(centres, np.array([[8.0, 8], [8, 7]])) == pytest.approx(np.hypot(16, 15))
    assert hausdorff(centres, np.array([[8.0, 8], [-8, -7], [100, 100]])) == 1
