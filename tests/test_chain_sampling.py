"""Exact samples of chains, tested as distributions.

Every test here fails by chance with probability about 1e-4 under a fresh seed (Kolmogorov–Smirnov:
p < 1e-4; averages: 4.5 standard errors, for up to fifteen of them at once); seeds are fixed.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.interpolate import CubicSpline

from theories import (
    DoubleWell,
    DoubleWellCouplings,
    FreeField,
    FreeFieldCouplings,
    Phi4,
    Phi4Couplings,
    TransferMatrix,
)

FALSE_ALARM = 1e-4
CHAINS = [
    (Phi4((16,)), Phi4Couplings()),
    (Phi4((3,)), Phi4Couplings(m=1.0, alpha=0.05)),
    (Phi4((2,)), Phi4Couplings(m=-0.3, lam=2.0, alpha=0.5)),
    (DoubleWell((16,)), DoubleWellCouplings(mass=6.0, mu=6.0, tilt=0.02)),
    (DoubleWell((64,)), DoubleWellCouplings()),
]


def assert_distributed(values: np.ndarray, x: np.ndarray, density: np.ndarray) -> None:
    """Kolmogorov–Smirnov against a density tabulated on a fine grid."""
    cumulative = CubicSpline(x, density).antiderivative()
    inside = np.clip(values, x[0], x[-1])
    assert stats.kstest(cumulative(inside), "uniform").pvalue > FALSE_ALARM


def assert_averages(samples: np.ndarray, expected: np.ndarray | float) -> None:
    """Means over the first axis within 4.5 standard errors of what is expected."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert np.max(np.abs(samples.mean(axis=0) - expected) / error) < 4.5


@pytest.mark.parametrize(("theory", "couplings"), CHAINS)
def test_samples_have_the_exact_distribution(theory, couplings, rng):
    exact = TransferMatrix(theory, couplings)
    n = 20_000
    phi = exact.sample(rng, n)
    assert phi.shape == (n, theory.sites)
    assert phi.dtype == np.float64
    x, _ = exact.marginal()
    fine = TransferMatrix(theory, couplings, spacing=(x[1] - x[0]) / 3)
    # First, last and a middle site: the bridge treats them differently, p does not.
    for site in (0, 1, theory.sites // 2, theory.sites - 1):
        assert_distributed(phi[:, site], *fine.marginal())
    magnetization = phi.mean(axis=1)
    assert_distributed(magnetization, *exact.magnetization_distribution(8001))
    products = np.stack([phi[:, 0] * phi[:, r] for r in range(min(theory.sites, 15))], axis=1)
    assert_averages(products, exact.correlator()[:15])
    positive = exact.probability_all_positive
    error = np.sqrt(positive * (1 - positive) / n)
    assert abs(np.mean(np.all(phi > 0, axis=1)) - positive) < 4 * error
    # One sample knows nothing of the next.
    assert abs(stats.pearsonr(magnetization[1:], magnetization[:-1]).statistic) < 4 / np.sqrt(n)


@pytest.mark.parametrize("length", [2, 3, 5, 16])
def test_every_mode_of_the_free_field_is_gaussian(length, rng):
    """The shortest waves would be the first to notice a grid."""
    theory, couplings = FreeField((length,)), FreeFieldCouplings(0.2)
    phi = TransferMatrix(theory, couplings).sample(rng, 20_000)
    # The real orthogonal transform that diagonalises every circulant matrix.
    covariance = np.array([np.roll(theory.propagator(couplings), r) for r in range(length)])
    variances, modes = np.linalg.eigh(covariance)
    for mode in ((phi @ modes) / np.sqrt(variances)).T:
        assert stats.kstest(mode, "norm").pvalue > FALSE_ALARM / length


@pytest.mark.parametrize(
    ("theory", "couplings", "other"),
    [
        (Phi4((16,)), Phi4Couplings(), Phi4Couplings(m=0.52, lam=0.065, alpha=0.02)),
        (
            DoubleWell((32,)),
            DoubleWellCouplings(),
            DoubleWellCouplings(mass=1.45, mu=1.6, lam=1.02, tilt=0.05, period=4.02),
        ),
    ],
)
def test_samples_reweight_to_other_couplings(theory, couplings, other, rng):
    """⟨e^{S-S'}⟩ = Z'/Z sees the joint density of all the sites."""
    exact = TransferMatrix(theory, couplings)
    phi = exact.sample(rng, 20_000)

    def action(couplings):
        bonds = np.sum((phi - np.roll(phi, 1, axis=1)) ** 2, axis=1)
        sites = np.sum(theory.potential(phi, couplings), axis=1)
        return theory.stiffness(couplings) * bonds + sites

    ratio = np.exp(TransferMatrix(theory, other).log_z - exact.log_z)
    assert_averages(np.exp(action(couplings) - action(other)), ratio)
    assert_averages(action(couplings) / theory.sites, exact.action_density)


def test_samples_depend_on_the_generator_alone():
    exact = TransferMatrix(Phi4((6,)), Phi4Couplings())
    first = exact.sample(np.random.default_rng(5), 50)
    np.testing.assert_array_equal(first, exact.sample(np.random.default_rng(5), 50))
    assert not np.any(first == exact.sample(np.random.default_rng(6), 50))
    # Continuous: no value occurs twice.
    assert len(np.unique(first)) == first.size


def test_no_samples_is_no_trouble(rng):
    assert TransferMatrix(Phi4((6,)), Phi4Couplings()).sample(rng, 0).shape == (0, 6)
