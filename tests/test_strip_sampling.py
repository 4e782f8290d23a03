"""Exact samples of tori, tested as distributions.

Every test here fails by chance with probability about 1e-4 under a fresh seed (Kolmogorov–Smirnov:
p < 1e-4; averages: 4.5 standard errors, for up to fifteen of them at once); seeds are fixed.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.interpolate import CubicSpline

from theories import FreeField, FreeFieldCouplings, Phi4, Phi4Couplings, TransferMatrix
from theories.strip import StripSolution
from theories.strip.answers import StripAnswers
from theories.strip.node_choice import NodeChoice
from theories.strip.sampling import StripSampler

FALSE_ALARM = 1e-4
SHIFTED = Phi4Couplings(m=1.0, lam=0.5, alpha=0.1)
BROKEN = Phi4((4, 4)).couplings_from_hopping(0.29, 0.02).couplings


def assert_averages(samples: np.ndarray, expected: np.ndarray | float) -> None:
    """Means over the first axis within 4.5 standard errors of what is expected."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert np.max(np.abs(samples.mean(axis=0) - expected) / error) < 4.5


@pytest.mark.parametrize(
    ("shape", "couplings"),
    [((3, 4), BROKEN), ((3, 5), SHIFTED), ((3, 2), SHIFTED), ((2, 2), BROKEN)],
)
def test_samples_have_the_exact_distribution(shape, couplings, rng):
    n = 2000
    exact = StripSolution(Phi4(shape), couplings, accuracy=1e-6)
    phi = exact.sample(rng, n)
    assert phi.shape == (n, *shape) and phi.dtype == np.float64
    m = phi.mean(axis=(1, 2))
    grid, density, error = exact.magnetization_distribution_with_error(2001)
    assert error.max() < 0.05 * density.max()
    cumulative = CubicSpline(grid, density).antiderivative()
    assert stats.kstest(np.clip(cumulative(m), 0, 1), "uniform").pvalue > FALSE_ALARM
    pairs, _ = exact.two_point_with_error()
    assert_averages(phi.reshape(n, -1) * phi[:, :1, 0], pairs.reshape(-1))
    last = np.roll(phi, 1, axis=(1, 2)).reshape(n, -1)
    assert_averages(last * last[:, :1], pairs.reshape(-1))
    assert_averages(phi[:, 0, 0] ** 4, exact.moment(4))
    assert abs(stats.pearsonr(m[1:], m[:-1]).statistic) < 4 / np.sqrt(n)
    # no value comes twice: the nodes are left behind
    assert len(np.unique(phi)) == phi.size


@pytest.mark.parametrize("shape", [(3, 3), (4, 2)])
def test_every_mode_of_the_free_field_is_gaussian(shape, rng):
    """The shortest waves would be the first to notice the nodes."""
    theory, couplings = FreeField(shape), FreeFieldCouplings(0.5)
    phi = StripSolution(theory, couplings, accuracy=1e-3).sample(rng, 4000)
    propagator = theory.propagator(couplings)
    sites = list(np.ndindex(*shape))
    covariance = np.array([[propagator[tuple(np.subtract(a, b))] for a in sites] for b in sites])
    variances, modes = np.linalg.eigh(covariance)
    for mode in ((phi.reshape(len(phi), -1) @ modes) / np.sqrt(variances)).T:
        assert stats.kstest(mode, "norm").pvalue > FALSE_ALARM / theory.sites


def test_samples_reweight_to_other_couplings(rng):
    """⟨e^{S-S'}⟩ = Z'/Z sees the joint density of all the sites."""
    theory, other = Phi4((4, 3)), SHIFTED._replace(m=1.05, lam=0.53, alpha=0.12)
    exact = StripSolution(theory, SHIFTED)
    phi = exact.sample(rng, 4000)
    change = (theory.potential(phi, SHIFTED) - theory.potential(phi, other)).sum(axis=(1, 2))
    ratio = np.exp(StripSolution(theory, other).log_z - exact.log_z)
    assert_averages(np.exp(change), ratio)


def test_a_chain_is_sampled_too(rng):
    theory = Phi4((7,))
    phi = StripSolution(theory, SHIFTED, accuracy=1e-4).sample(rng, 3000)
    chain = TransferMatrix(theory, SHIFTED)
    assert phi.shape == (3000, 7)
    assert_averages(phi * phi[:, :1], chain.correlator())


def test_weights_mend_what_few_nodes_do(rng):
    """Of four nodes ⟨φ⁴⟩ is far off, and exact with the weights; their mean is Z/Z of the nodes."""
    theory, n = Phi4((2, 2)), 40_000
    exact = StripSolution(theory, BROKEN)
    choice = NodeChoice(exact._potential, 1.0, 2, True).best(4)
    few = StripAnswers(theory, BROKEN, 0, choice, 1e-12, 1e-12)
    drawn = StripSampler(few.states, exact._potential, 1.0).weighted(rng, n)
    weights = np.exp(drawn.log_w)
    fourth = (drawn.phi**4).mean(axis=(1, 2))
    truth = exact.moment(4)
    error = fourth.std() / np.sqrt(n)
    assert abs(few.moment(4)[0] - truth) > 10 * error
    assert_averages(weights, np.exp(exact.log_z - few.log_z()[0]))
    assert_averages(weights * (fourth - truth), 0.0)


def test_the_same_seed_gives_the_same_samples():
    exact = StripSolution(Phi4((3, 3)), SHIFTED, accuracy=1e-3)
    one, two = (exact.sample(np.random.default_rng(5), 20) for _ in range(2))
    np.testing.assert_array_equal(one, two)
