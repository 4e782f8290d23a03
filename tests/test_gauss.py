"""Gauss nodes against closed forms, and against integrals that they must have exactly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

from theories import LatticeFlowsError
from theories.gauss import gauss_nodes


def test_of_a_gaussian_they_are_those_of_hermite():
    nodes = gauss_nodes(lambda x: 0.5 * x * x, 0.5, 12, True)
    x, weights = np.polynomial.hermite.hermgauss(12)
    np.testing.assert_allclose(nodes.x, x, atol=1e-12)
    np.testing.assert_allclose(np.exp(nodes.log_w - nodes.x**2), weights, rtol=1e-10)
    assert np.all(nodes.x == -nodes.x[::-1])


@pytest.mark.parametrize(
    ("m", "lam", "alpha"), [(0.5, 0.3, 0.2), (20.0, 3.0, 0.0), (0.0, 1e4, 0.01), (-2.0, 1e-4, 1.0)]
)
def test_polynomials_are_integrated_exactly(m, lam, alpha):
    """Up to degree 2n - 1, of single wells and double ones, narrow and wide."""

    def potential(x):
        return lam * (x - alpha) ** 4 - m * x * x

    n, c = 7, 1.3
    nodes = gauss_nodes(potential, c, n, alpha == 0)
    scale = np.abs(nodes.x).max()
    grid = np.linspace(-scale, scale, 2001)
    floor = np.min(potential(grid) + c * grid**2)

    def weight(x):
        return np.exp(floor - potential(x) - c * x * x)

    weights = np.exp(nodes.log_w + floor - potential(nodes.x) - c * nodes.x**2)
    for power in range(2 * n):
        ends = (-3 * scale, 3 * scale)
        options = {"points": list(nodes.x), "limit": 400, "epsabs": 0, "epsrel": 1e-12}
        size = integrate.quad(lambda x, p=power: abs(x / scale) ** p * weight(x), *ends, **options)
        true = integrate.quad(
            lambda x, p=power: (x / scale) ** p * weight(x),
            *ends,
            **(options | {"epsabs": 1e-13 * size[0], "epsrel": 1e-13}),
        )
        found = np.sum(weights * (nodes.x / scale) ** power)
        assert found == pytest.approx(true[0], abs=1e-10 * size[0])


def test_a_field_that_is_not_bound_is_refused():
    with pytest.raises(LatticeFlowsError, match="not bound"):
        gauss_nodes(lambda x: -x * x, 0.5, 4, True)
    with pytest.raises(LatticeFlowsError, match="smaller couplings"):
        gauss_nodes(lambda x: x**4 - 1e200 * x * x, 0.0, 4, True)
