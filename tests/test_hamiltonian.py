"""Continuum spectra against textbook oscillators and against the path integral as dτ → 0."""

from __future__ import annotations

import numpy as np
import pytest

from theories import DoubleWell, DoubleWellCouplings, LatticeFlowsError, TransferMatrix
from theories.hamiltonian import energies, spectrum


@pytest.mark.parametrize(("mass", "frequency"), [(1.0, 1.0), (0.3, 2.0), (5.0, 0.7)])
def test_harmonic_oscillator(mass, frequency):
    found = spectrum(lambda x: mass * frequency**2 / 2 * x**2, mass, 10)
    np.testing.assert_allclose(found, frequency * (np.arange(10) + 0.5), rtol=1e-10)


def test_quartic_oscillator():
    """p² + x⁴: the classic values, e.g. Banerjee, Proc. R. Soc. A 364 (1978) 265."""
    quartic = DoubleWellCouplings(mass=0.5, mu=0.0, lam=4.0)
    expected = [1.060362090484183, 3.799673029801394, 7.455697937986738, 11.644745511378162]
    np.testing.assert_allclose(energies(DoubleWell((4,)), quartic, 4), expected, rtol=1e-11)


def test_scaling_of_the_quartic_oscillator():
    """E(λ, M) = (λ/M²)^{1/3} E(1, 1) when μ = 0."""
    theory = DoubleWell((4,))
    one = energies(theory, DoubleWellCouplings(mass=1.0, mu=0.0, lam=1.0), 5)
    other = energies(theory, DoubleWellCouplings(mass=3.0, mu=0.0, lam=0.2), 5)
    np.testing.assert_allclose(other, (0.2 / 9) ** (1 / 3) * one, rtol=1e-10)


def test_tilt_is_odd():
    theory = DoubleWell((4,))
    right = energies(theory, DoubleWellCouplings(tilt=0.3), 5)
    np.testing.assert_allclose(energies(theory, DoubleWellCouplings(tilt=-0.3), 5), right)


@pytest.mark.parametrize(("m", "tilt"), [(1.5, 0.0), (3.0, 0.0), (3.0, 0.4)])
def test_path_integral_has_this_continuum_limit(m, tilt):
    """Gap and log Tr e^{-TH}, extrapolated in dτ² from three lattices."""
    couplings = DoubleWellCouplings(mass=m, mu=m, tilt=tilt)
    period = couplings.period
    levels = energies(DoubleWell((4,)), couplings, 30)
    expected = [levels[1] - levels[0], np.log(np.sum(np.exp(-period * levels)))]
    estimates = []
    for length in (32, 64, 128):
        exact = TransferMatrix(DoubleWell((length,)), couplings)
        step = period / length
        measure = length / 2 * np.log(m / (2 * np.pi * step))
        estimates.append([exact.energy_gap / step, exact.log_z + measure])
    coarse, middle, fine = np.array(estimates)
    # The error is of second order: it falls by four …
    np.testing.assert_allclose((coarse - expected) / (middle - expected), 4, rtol=0.05)
    # … and two extrapolations remove it up to dτ⁶.
    first, second = (4 * middle - coarse) / 3, (4 * fine - middle) / 3
    np.testing.assert_allclose((16 * second - first) / 15, expected, atol=2e-7)


def test_bad_input_is_refused():
    with pytest.raises(LatticeFlowsError, match="mass must be greater than 0"):
        energies(DoubleWell((4,)), DoubleWellCouplings(mass=-1.0), 3)
    with pytest.raises(LatticeFlowsError, match="do not settle"):
        spectrum(lambda x: x**2, 1.0, 1, tolerance=0.0)
