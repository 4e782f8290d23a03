"""Exact answers that are smaller than rounding errors: right, or unknown and bounded."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy import integrate

from theories import (
    DoubleWell,
    DoubleWellCouplings,
    FreeField,
    FreeFieldCouplings,
    Phi4,
    Phi4Couplings,
    TransferMatrix,
)


def splitting(m, bound, points=40):
    """ln κ_0/κ_1 of the double well on 16 sites, to 60 digits: even and odd functions, K^1024."""
    with localcontext() as context:
        context.prec = 60
        step, h = Decimal(4) / 16, Decimal(bound) / (points - Decimal("0.5"))
        x = [h * (i + Decimal("0.5")) for i in range(points)]
        v = [step * (y**4 / 4 - m * y**2 / 2) for y in x]
        v = [y - min(v) for y in v]

        def kernel(y, z, a, b):
            return h * (-m / (2 * step) * (y - z) ** 2 - (a + b) / 2).exp()

        pairs = list(zip(x, v, strict=True))
        same = np.array([[kernel(y, z, a, b) for z, b in pairs] for y, a in pairs])
        across = np.array([[kernel(y, -z, a, b) for z, b in pairs] for y, a in pairs])
        leading = []
        for matrix in (same + across, same - across):
            power = matrix
            for _ in range(10):
                power = power @ power
                power = power / power.max()
            vector = power.sum(axis=1)
            leading.append(vector @ (matrix @ vector) / (vector @ vector))
        return float((leading[0] / leading[1]).ln())


def double_well(m, tilt=0.0, length=16):
    return TransferMatrix(DoubleWell((length,)), DoubleWellCouplings(m, m, tilt=tilt))


def test_gaps_of_deep_wells_against_sixty_digits():
    """Of a grid of half the points; plain differences end at 1e-15."""
    exact = double_well(8.0)
    np.testing.assert_allclose(exact.energy_gap, 4.870324587633e-26, rtol=1e-11)
    np.testing.assert_allclose(exact.energy_gap, splitting(Decimal(8), 5), rtol=1e-9)
    np.testing.assert_allclose(exact.correlation_length, 1 / exact.energy_gap)
    np.testing.assert_allclose(double_well(14.0).energy_gap, 8.7831224897e-80, rtol=1e-10)


def test_gaps_fall_as_the_instanton_says():
    """ln ΔE of V = (x² - m)²/4 near the continuum, Coleman: 2ω √(6S/π) e^{-S} (1 - 71/72S).

    S = 2ωMa²/3 (a² = μ/λ, ω² = 2μ/M): of ever deeper wells the ratio goes to 1 as 1/S².
    """
    for m in (6.0, 8.0):
        action = 4 * m**2 * np.sqrt(2) / 6
        period, length = 4.0, 256
        exact = double_well(m, length=length).energy_gap / (period / length)
        leading = 2 * np.sqrt(2) * np.sqrt(6 * action / np.pi) * np.exp(-action)
        assert exact / (leading * (1 - 71 / (72 * action))) == pytest.approx(1, abs=0.02)


def test_what_rounding_errors_hide_is_unknown_and_bounded():
    hidden = double_well(14.0, tilt=1e-17).observables()
    assert np.isnan(hidden["energy_gap"]) and np.isnan(hidden["correlation_length"])
    assert 0 < hidden["energy_gap_bound"] < 1e-12
    assert hidden["correlation_length_bound"] == 1 / hidden["energy_gap_bound"]
    deep = double_well(30.0).observables()  # K(x, -y) is below the smallest number
    assert np.isnan(deep["energy_gap"]) and deep["energy_gap_bound"] <= 1e-300
    tilted = double_well(6.0, tilt=3.0).observables()
    assert np.isnan(tilted["positive_mode_weight"])
    assert 0 < tilted["positive_mode_weight_bound"] < 1e-12


def test_symmetry_is_exact():
    answers = double_well(6.0).observables()
    assert answers["magnetization"] == 0 and answers["positive_mode_weight"] == 0.5
    assert TransferMatrix(FreeField((8,)), FreeFieldCouplings(0.3)).binder_cumulant == 0


def test_connected_correlators_decay_far_below_rounding_errors():
    """Free field about 0, and shifted wells: C(r) of 64 sites falls to 1e-26."""
    theory, couplings = FreeField((64,)), FreeFieldCouplings(3.0)
    exact = TransferMatrix(theory, couplings)
    mass = np.arccosh(1 + 3.0 / 2)
    r = np.arange(33)
    closed = np.cosh(mass * (32 - r)) / (4 * np.sinh(mass) * np.sinh(32 * mass))
    np.testing.assert_allclose(exact.connected_correlator()[:33], closed, rtol=1e-8)
    bends = closed[:-1] + np.append(closed[2:], closed[31])
    gaps = np.arccosh(bends / (2 * closed[1:]))
    np.testing.assert_allclose(exact.correlator_gaps(), gaps, rtol=1e-6)
    one = TransferMatrix(Phi4((64,)), Phi4Couplings(m=2.0, alpha=1.0))
    np.testing.assert_allclose(one.correlator_gaps()[8:24], one.energy_gap, rtol=1e-6)


def test_the_gap_of_a_correlator_that_hardly_decays():
    """C(r) of two wells is constant to 1e-16, and an arcosh of it would be noise of 1e-8.

    The period is so long that the states within the wells have died out in its middle.
    """
    couplings = DoubleWellCouplings(4.5, 4.5, period=80.0)
    exact = TransferMatrix(DoubleWell((320,)), couplings)
    assert exact.energy_gap < 1e-7
    np.testing.assert_allclose(exact.correlator_gaps()[-1], exact.energy_gap, rtol=1e-6)


def test_a_tiny_orthant_keeps_its_digits():
    """The sites of a stiff chain of two move together: P is that of one Gaussian beyond 0."""
    couplings = Phi4Couplings(m=4.0, lam=1.0, alpha=1.0)
    exact = TransferMatrix(Phi4((2,)), couplings)

    def weight(y, x):
        v = sum(exact.theory.potential(z, couplings) for z in (x, y))
        return np.exp(-2 * (x - y) ** 2 - v)

    below = integrate.dblquad(weight, -5, 0, -5, 0, epsabs=0, epsrel=1e-10)[0]
    expected = below / np.exp(exact.log_z)
    assert exact.probability_all_negative == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_gaps_of_lost_correlators_are_not_known(alpha):
    """Of 100 sites C(r) falls to e^{-88}, below the rounding of x_00²: Δ(50) was .01."""
    theory = Phi4((100,))
    exact = TransferMatrix(theory, theory.from_values(m=-4.0, alpha=alpha))
    gaps = exact.correlator_gaps()
    assert np.isnan(gaps[-1]) and np.isfinite(gaps[:30]).all()
    # the asymptotic gap from a third of the way on, where higher states are gone
    np.testing.assert_allclose(gaps[12:][np.isfinite(gaps[12:])], exact.energy_gap, rtol=1e-3)
