"""Base densities: normalised, sampled exactly, even; against quadrature that shares no code."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from helpers import double

from lattice_flows.flows.base import GeneralisedGaussian, MeanField, Ultralocal, make_base
from lattice_flows.flows.base.base import sample_sites
from lattice_flows.flows.base.mean_field import MeanFieldParams
from lattice_flows.flows.couplings import Couplings
from lattice_flows.training import base_fit
from theories import (
    DoubleWell,
    FreeField,
    LatticeFlowsError,
    MixtureCouplings,
    Phi4,
    TransferMatrix,
    TwoGaussians,
)

FALSE_ALARM = 1e-4  # of each Kolmogorov-Smirnov test here, had it another seed
LAM = 1 / 16


def phi4_couplings(shape, **values):
    return double(Phi4(shape).from_values(**{"m": 0.5, "lam": LAM, "alpha": 0.0} | values))


def mean_field(shape, c: float, g: float):
    """The base and its parameters with curvature c and coupling g, in units of √λ."""
    params = MeanFieldParams(jnp.asarray([c]), jnp.asarray([np.log(np.expm1(g - 1e-3))]))
    return MeanField(Phi4(shape)), params


def mean_field_energy(phi, c, g, lam):
    """The formula at the head of mean_field.py, over the leading axes."""
    sites = phi.shape[-1]
    local = lam * phi**4 + c * np.sqrt(lam) * phi**2
    return local.sum(-1) - g * np.sqrt(lam) / (2 * sites) * phi.sum(-1) ** 2


def grid(sites: int, end: float, points: int):
    """(points^sites, sites) nodes of the trapezoid rule and the volume of a cell."""
    axis = np.linspace(-end, end, points)
    nodes = np.stack(np.meshgrid(*[axis] * sites, indexing="ij"), axis=-1)
    return nodes, (axis[1] - axis[0]) ** sites


# c, g and λ: one well, a flat one, and two wells by the curvature, by the coupling, by both
WELLS = [
    (0.0, 0.05, LAM),
    (2.0, 0.5, LAM),
    (0.0, 4.0, 2.0),
    (-3.0, 0.3, LAM),
    (6.0, 16.0, LAM),
    (-6.0, 8.0, 0.3),
]


@pytest.mark.parametrize(("c", "g", "lam"), WELLS)
@pytest.mark.parametrize("sites", [2, 3])
def test_mean_field_normalisation_by_brute_force(sites, c, g, lam):
    base, params = mean_field((sites,), c, g)
    couplings = phi4_couplings((sites,), lam=lam)
    nodes, cell = grid(sites, 5.5 * lam**-0.25, {2: 401, 3: 161}[sites])
    energies = mean_field_energy(nodes, c, g, lam)
    least = energies.min()
    exact = np.log(np.sum(np.exp(least - energies)) * cell) - least
    assert base.log_normalisation(params, couplings) == pytest.approx(exact, abs=1e-9)
    for phi in nodes.reshape(-1, sites)[:: len(nodes.reshape(-1, sites)) // 7]:
        energy = mean_field_energy(phi, c, g, lam)
        assert base.energy(params, jnp.asarray(phi), couplings) == pytest.approx(energy, rel=1e-9)
        assert base.log_prob(params, jnp.asarray(phi), couplings) == pytest.approx(
            -energy - exact, rel=1e-9, abs=1e-8
        )


@pytest.mark.parametrize("shape", [(16,), (4, 4)])
@pytest.mark.parametrize(("c", "g", "lam"), WELLS[1::2])
def test_mean_field_normalisation_of_many_sites(shape, c, g, lam):
    """Here by a Hubbard-Stratonovich integral of scipy's, over one-site integrals of scipy's."""
    base, params = mean_field(shape, c, g)
    volume = base.theory.sites

    def log_site(h):
        top = max(np.roots([4, 0, 2 * c, -h]).real, key=lambda x: -(x**4) - c * x**2 + h * x)
        height = -(top**4) - c * top**2 + h * top
        value, _ = scipy.integrate.quad(
            lambda x: np.exp(-(x**4) - c * x**2 + h * x - height), -7, 7, points=[top], limit=200
        )
        return np.log(value) + height

    u = np.linspace(0, 6, 241)  # even in u; the integrand has a width of 1/√(Vg) at least
    exponent = volume * (np.array([log_site(g * x) for x in u]) - g * u**2 / 2)
    peak = exponent.max()
    weights = np.exp(exponent - peak)
    total = (2 * weights.sum() - weights[0]) * (u[1] - u[0])
    exact = np.log(total) + peak + 0.5 * np.log(volume * g / (2 * np.pi))
    exact -= volume / 4 * np.log(lam)
    couplings = phi4_couplings(shape, lam=lam)
    assert base.log_normalisation(params, couplings) == pytest.approx(exact, abs=1e-7)


@pytest.mark.parametrize("curvature", [0.0, 1.5, -2.5])
@pytest.mark.parametrize("lam", [LAM, 3.0])
def test_ultralocal_normalisation(curvature, lam):
    base = Ultralocal(Phi4((3, 4)), curvature)
    couplings = phi4_couplings((3, 4), lam=lam)

    def density(x):
        return np.exp(-lam * x**4 - curvature * np.sqrt(lam) * x**2)

    exact = 12 * np.log(scipy.integrate.quad(density, -np.inf, np.inf)[0])
    assert base.log_normalisation((), couplings) == pytest.approx(exact, abs=1e-9)
    phi = np.linspace(-2, 2, 12).reshape(3, 4)
    expected = np.log(density(phi)).sum() - exact
    assert base.log_prob((), jnp.asarray(phi), couplings) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("power", "width"), [(2.0, 1.0), (4.0, 2.0), (7.0, 0.5)])
def test_generalised_gaussian(power, width, seed):
    base = GeneralisedGaussian(Phi4((5,)), power, width)
    couplings = phi4_couplings((5,))
    exact = scipy.stats.gennorm(power, scale=width)
    phi = np.linspace(-1, 1.5, 5)
    expected = exact.logpdf(phi).sum()
    assert base.log_prob((), jnp.asarray(phi), couplings) == pytest.approx(expected, abs=1e-9)
    draws = jax.vmap(lambda k: base.sample((), k, couplings))(keys(seed, 4000))
    assert scipy.stats.kstest(np.ravel(draws), exact.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("beta", [0.3, 1.0, 2.5])
def test_a_tempered_base_is_normal_with_the_variance_over_beta(beta):
    theory = TwoGaussians()
    base, couplings = make_base("tempered", theory, {}, width=3.0), double(MixtureCouplings(beta))
    phi, log_q = base.draw((), jax.random.key(3), couplings, 4000)
    normal = scipy.stats.norm(scale=3 / np.sqrt(beta))
    np.testing.assert_allclose(log_q, normal.logpdf(phi).sum(axis=1), rtol=1e-12)
    assert scipy.stats.kstest(np.ravel(phi), normal.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("theory", [Phi4((3, 4)), DoubleWell((4,))])
def test_gaussian_base(theory, seed):
    """Normalisation by the determinant of its Hessian, draws by their covariance and energy."""
    couplings = double(theory.from_values())
    base = make_base("gaussian", theory, {})
    zero, volume = jnp.zeros(theory.shape), theory.sites
    hessian = jax.jit(jax.hessian(lambda x: base.energy((), x, couplings)))(zero)
    hessian = hessian.reshape(volume, volume)
    exact = 0.5 * volume * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(hessian)[1]
    assert base.log_normalisation((), couplings) == pytest.approx(exact, abs=1e-10)
    draws = jax.jit(jax.vmap(lambda k: base.sample((), k, couplings)))(keys(seed, 8000))
    covariance = np.linalg.inv(hessian)
    flat = np.reshape(draws, (-1, volume))
    errors = np.sqrt((covariance**2 + np.outer(*[np.diag(covariance)] * 2)) / len(flat))
    assert np.all(np.abs(flat.T @ flat / len(flat) - covariance) < 5.5 * errors)
    energies = jax.vmap(lambda x: base.energy((), x, couplings))(draws)
    pvalue = scipy.stats.kstest(2 * np.asarray(energies), scipy.stats.chi2(volume).cdf).pvalue
    assert pvalue > FALSE_ALARM


# draws


def keys(seed, n):
    return jax.random.split(jax.random.key(seed), n)


def cdf_on(x, density):
    """A function that interpolates the distribution function of a density on a fine grid."""
    cumulative = scipy.integrate.cumulative_simpson(density, x=x, initial=0)
    return lambda y: np.interp(y, x, cumulative / cumulative[-1])


@pytest.mark.parametrize(
    ("curvature", "source"), [(0.0, 0.0), (2.0, 1.0), (-6.0, 0.0), (-6.0, 0.4), (0.0, -80.0)]
)
def test_sites_are_drawn_exactly(curvature, source, seed):
    draws = sample_sites(jax.random.key(seed), (20_000,), *map(jnp.float64, (curvature, source)))
    x = np.linspace(-5, 5, 20_001)
    exponent = -(x**4) - curvature * x**2 + source * x
    cdf = cdf_on(x, np.exp(exponent - exponent.max()))
    assert scipy.stats.kstest(draws, cdf).pvalue > FALSE_ALARM
    assert len(np.unique(draws)) == len(draws)  # not on a grid


def mean_field_draws(sites, c, g, lam, seed, n):
    base, params = mean_field((sites,), c, g)
    couplings = phi4_couplings((sites,), lam=lam)
    return np.asarray(jax.jit(jax.vmap(lambda k: base.sample(params, k, couplings)))(keys(seed, n)))


@pytest.mark.parametrize(("c", "g", "lam"), WELLS)
def test_mean_field_draws_have_the_density(c, g, lam):
    """Two sites: the distributions of φ₁ + φ₂, φ₁ - φ₂ and φ₁ are those of the plane's density."""
    draws = mean_field_draws(2, c, g, lam, 7, 10_000)
    # the trapezoid rule in coordinates p, r with φ = (p + r, p - r)
    end = 5.5 * lam**-0.25
    axis = np.linspace(-end, end, 801)
    p, r = np.meshgrid(axis, axis, indexing="ij")
    energies = mean_field_energy(np.stack([p + r, p - r], axis=-1), c, g, lam)
    density = np.exp(energies.min() - energies)
    first = mean_field_energy(np.stack([p, r], axis=-1), c, g, lam)
    for values, marginal in (
        (draws.sum(1) / 2, density.sum(1)),
        ((draws[:, 0] - draws[:, 1]) / 2, density.sum(0)),
        (draws[:, 0], np.exp(first.min() - first).sum(1)),
    ):
        assert scipy.stats.kstest(values, cdf_on(axis, marginal)).pvalue > FALSE_ALARM


@pytest.mark.parametrize(("c", "g", "lam"), WELLS[1::2])
def test_mean_field_draws_of_many_sites_give_the_ratio_of_partition_sums(c, g, lam):
    """E_q[e^{-(E'-E)}] = Z'/Z, and ∂ log Z are moments. Each fails by chance once in 15,000."""
    draws = mean_field_draws(16, c, g, lam, 8, 4_000)
    couplings = phi4_couplings((16,), lam=lam)

    def log_z(c, g):
        base, params = mean_field((16,), c, g)
        return float(base.log_normalisation(params, couplings))

    near = (c + 0.03, g + 0.02)
    difference = mean_field_energy(draws, *near, lam) - mean_field_energy(draws, c, g, lam)
    ratio = np.exp(-difference - log_z(*near) + log_z(c, g))
    x2 = np.sqrt(lam) * (draws**2).sum(1)
    m2 = np.sqrt(lam) * draws.sum(1) ** 2 / 32
    h = 1e-4
    for values, exact in (
        (ratio, 1.0),
        (x2, -(log_z(c + h, g) - log_z(c - h, g)) / (2 * h)),
        (m2, (log_z(c, g + h) - log_z(c, g - h)) / (2 * h)),
    ):
        assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(len(values))


def test_bases_are_even(rng):
    theory = Phi4((2, 3))
    couplings = double(theory.from_values(alpha=0.3))  # the base of a tilted theory, too
    phi = jnp.asarray(rng.normal(size=(2, 3)))
    for base in [
        *(make_base(name, theory, {}) for name in ("mean-field", "ultralocal", "gaussian")),
        GeneralisedGaussian(theory),
    ]:
        params = double(base.init())
        one, other = (base.log_prob(params, sign * phi, couplings) for sign in (1, -1))
        assert one == pytest.approx(float(other), abs=1e-13)
        assert one != pytest.approx(float(base.log_prob(params, 2 * phi, couplings)), abs=1e-3)


# couplings


def test_mean_field_parameters_are_polynomials_of_the_ranged_couplings():
    """Third order in the coupling scaled to [-1, 1]."""
    theory = Phi4((2,))
    base = MeanField(theory, (("m", (0.25, 1.0)),))
    assert base.init().curvature.shape == (4,)
    rng = np.random.default_rng(0)
    curvature, coupling = rng.normal(size=(2, 4))
    params = MeanFieldParams(jnp.asarray(curvature), jnp.asarray(coupling))
    phi = rng.normal(size=2)
    for m, scaled in [(0.25, -1.0), (0.625, 0.0), (0.7, 0.2), (1.0, 1.0)]:
        c = np.polyval(curvature[::-1], scaled)
        g = np.log1p(np.exp(np.polyval(coupling[::-1], scaled))) + 1e-3
        energy = base.energy(params, jnp.asarray(phi), phi4_couplings((2,), m=m))
        assert energy == pytest.approx(mean_field_energy(phi, c, g, LAM), rel=1e-9)


def test_two_ranges_have_all_mixed_terms():
    base = MeanField(Phi4((2,)), (("m", (0.25, 1.0)), ("lam", (0.05, 0.2))))
    assert base.init().coupling.shape == (10,)  # (5 choose 2) monomials up to third order
    params = MeanFieldParams(*jnp.asarray(np.random.default_rng(0).normal(size=(2, 10))))
    corners = [
        float(base.energy(params, jnp.asarray([1.0, -0.3]), phi4_couplings((2,), m=m, lam=lam)))
        for m in (0.25, 1.0)
        for lam in (0.05, 0.2)
    ]
    assert abs(corners[0] - corners[1] - corners[2] + corners[3]) > 1e-3


def test_bases_that_need_a_quartic_term_are_refused_where_there_is_none():
    for name in ("mean-field", "ultralocal"):
        with pytest.raises(LatticeFlowsError, match='free field: use `base="gaussian"`'):
            make_base(name, FreeField((4,)), {})


# the fit


@pytest.fixture
def standard_promotion():
    """optax's schedules mix integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def fit(base, given, seed):
    return jax.jit(lambda key: base_fit.fit_base(base, given, key))(jax.random.key(seed))


def forward_kl(base, params, couplings, n=4000):
    """log p/q₀ on exact samples of a chain, always the same ones; the mean is KL(p‖q₀)."""
    exact = TransferMatrix(base.theory, couplings)
    phi = jnp.asarray(exact.sample(np.random.default_rng(3), n))
    arrays = double(couplings)
    log_q = jax.vmap(lambda x: base.log_prob(params, x, arrays))(phi)
    log_p = -jax.vmap(lambda x: base.theory.action(x, arrays))(phi) - exact.log_z
    return np.asarray(log_p - log_q)


def standard_error(values):
    return values.std() / np.sqrt(len(values))


def test_the_fit_finds_a_target_that_is_in_the_family(standard_promotion, monkeypatch):
    """Two sites: the bond is the infinite-range coupling, c = (4 - m)/√λ, g = 8/√λ.

    A maximum-likelihood fit to n walkers is off by KL = (parameters)/2n on average.
    """
    theory = Phi4((2,))
    couplings = theory.from_values(m=0.5, lam=4.0, alpha=0.0)
    base = MeanField(theory)
    monkeypatch.setattr(base_fit, "_MOVES", 300)
    params = fit(base, Couplings(couplings, {}), 0)
    _, c, g = base._local(params, double(couplings), jnp.float64)
    assert c == pytest.approx(1.75, abs=0.3) and g == pytest.approx(4.0, abs=0.4)
    fitted = forward_kl(base, params, couplings)
    assert abs(fitted.mean()) < 0.005 + 3 * standard_error(fitted)
    start = forward_kl(base, double(base.init()), couplings)
    assert start.mean() > 0.1
    assert (start - fitted).mean() > 5 * standard_error(start - fitted)


def test_the_fit_matches_moments_over_a_range_from_the_action_alone(
    standard_promotion, monkeypatch
):
    """⟨φ²⟩ and ⟨M²⟩ at both ends of a range, where no parameter is exact; KL falls everywhere."""
    theory, ranges = Phi4((6,)), {"m": (0.25, 1.0)}
    base = MeanField(theory, tuple(ranges.items()))

    def forbidden(*args, **kwargs):
        raise AssertionError("the fit asked for an exact answer")

    monkeypatch.setattr(base_fit, "_MOVES", 300)
    with monkeypatch.context() as patch:
        patch.setattr(TransferMatrix, "__init__", forbidden)
        given = Couplings(theory.from_values(m=0.6), ranges)
        params = fit(base, given, 1)
    for m in (0.25, 1.0):
        couplings = theory.from_values(m=m)
        exact = TransferMatrix(theory, couplings)
        arrays = double(couplings)
        draw = jax.jit(jax.vmap(lambda k, c=arrays: base.sample(params, k, c)))
        draws = np.asarray(draw(keys(11, 4000)))
        assert (draws**2).mean() == pytest.approx(exact.moment(2), rel=0.15)
        second = (draws.mean(1) ** 2).mean()
        assert second == pytest.approx(exact.magnetization_squared, rel=0.2)
        fitted, start = (forward_kl(base, p, couplings) for p in (params, double(base.init())))
        assert (start - fitted).mean() > 5 * standard_error(start - fitted)


def test_a_base_without_parameters_is_not_fitted():
    theory = Phi4((4,))
    given = Couplings(theory.from_values(), {})
    assert base_fit.fit_base(Ultralocal(theory), given, jax.random.key(0)) == ()
