"""The transfer matrix against published numbers, exactly solvable cases and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, special
from scipy.interpolate import CubicSpline

from theories import (
    DoubleWell,
    DoubleWellCouplings,
    FreeField,
    FreeFieldCouplings,
    LatticeFlowsError,
    Phi4,
    Phi4Couplings,
    Phi4Hopping,
    TransferMatrix,
)

# N = 16, λ = 1/16, α = 0.01. m: log Z, <φ>, <φ²>, <φ⁴>, P(all > 0), P(all < 0), ln κ0/κ1
PHI4_SITES = """
 .25  9.785547  .066178 1.221961  3.07682  .1369 .1087 .193
 .50 18.760333  .503817 3.448310 15.32797  .5983 .3355 .0421
 .75 37.043793 1.196376 5.654658 36.09869  .7531 .2463 .0698
1.0  63.875673 1.953058 7.753981 64.73154  .8528 .1472 .1098
"""
# m: <M>, <|M|>, N(<M²>-<M>²), N(<M²>-<|M|>²), Binder, P(M > 0)
PHI4_MAGNETIZATION = """
 .25  .066178  .726553 11.216763 2.840760 .374762 .532297
 .50  .503817 1.764171 46.904780 1.169301 .642362 .637126
 .75 1.196376 2.335984 64.824928  .416842 .660458 .753493
1.0  1.953058 2.756463 60.822539  .284130 .663585 .852842
"""
# N = 16, T = 4, λ = 1, M = μ = m. m: log Z, <x²>
DOUBLE_WELL = """
1.5  1.0509 1.0128
3    1.8344 2.7365
4.5  9.7652 4.3374
6   23.1902 5.8804
"""


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().splitlines()]


def assert_printed(values: list[float], printed: list[str]) -> None:
    """Every value rounds to the printed number."""
    for value, text in zip(values, printed, strict=True):
        digits = len(text.partition(".")[2])
        assert round(value, digits) == float(text), (value, text)


@pytest.mark.parametrize("row", rows(PHI4_SITES), ids=lambda row: f"m={row[0]}")
def test_phi4_sites_to_all_printed_digits(row):
    exact = TransferMatrix(Phi4((16,)), Phi4Couplings(m=float(row[0])))
    moments = [exact.moment(power) for power in (1, 2, 4)]
    orthants = [exact.probability_all_positive, exact.probability_all_negative]
    assert_printed([exact.log_z, *moments, *orthants, exact.energy_gap], row[1:])


@pytest.mark.parametrize("row", rows(PHI4_MAGNETIZATION), ids=lambda row: f"m={row[0]}")
def test_phi4_magnetization_to_all_printed_digits(row):
    exact = TransferMatrix(Phi4((16,)), Phi4Couplings(m=float(row[0])))
    values = [exact.magnetization, exact.abs_magnetization, exact.susceptibility]
    values += [exact.susceptibility_abs, exact.binder_cumulant, exact.positive_mode_weight]
    assert_printed(values, row[1:])


@pytest.mark.parametrize("row", rows(DOUBLE_WELL), ids=lambda row: f"m={row[0]}")
def test_double_well_to_all_printed_digits(row):
    m = float(row[0])
    exact = TransferMatrix(DoubleWell((16,)), DoubleWellCouplings(mass=m, mu=m))
    assert_printed([exact.log_z, exact.moment(2)], row[1:])
    np.testing.assert_allclose(exact.positive_mode_weight, 0.5, atol=1e-11)


CHAINS = [
    (Phi4((16,)), Phi4Couplings()),
    (Phi4((2,)), Phi4Couplings(m=-0.3, lam=0.4, alpha=0.5)),
    (Phi4((5,)), Phi4Couplings(m=2.0, lam=0.2, alpha=-0.2)),
    (DoubleWell((16,)), DoubleWellCouplings(mass=6.0, mu=6.0, tilt=0.05)),
    (DoubleWell((64,)), DoubleWellCouplings(tilt=-0.2)),
    (FreeField((7,)), FreeFieldCouplings(0.1)),
]


@pytest.mark.parametrize(("theory", "couplings"), CHAINS)
def test_finer_nodes_change_nothing(theory, couplings):
    exact = TransferMatrix(theory, couplings)
    assert exact.change_on_refining < 1e-12 * max(10, exact.length)
    x, density = exact.marginal()
    assert max(density[0], density[-1]) < 1e-20
    finer = TransferMatrix(theory, couplings, spacing=(x[1] - x[0]) / 1.7)
    ours, theirs = exact.observables(), finer.observables()
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-10, atol=1e-11, err_msg=name)


@pytest.mark.parametrize(
    ("theory", "values", "spacing"),
    [
        (Phi4((16,)), {"m": 0.25, "alpha": 0.01}, 0.04),
        (Phi4((64,)), {"m": 2.0, "alpha": 0.01}, 0.03),
        (Phi4((12,)), {"m": 1.0, "lam": 1.0, "alpha": 0.3}, 0.02),
        (Phi4((16,)), {"m": -1.0, "lam": 0.5, "alpha": 0.5}, 0.03),
        (Phi4((16,)), {"m": 4.0, "lam": 7.0, "alpha": 0.0}, 0.01),
        (Phi4Hopping((64,)), {"kappa": 0.3}, 0.07),
        (FreeField((16,)), {"mass_squared": 0.05}, 0.1),
        (DoubleWell((16,)), {"mass": 8.0, "mu": 8.0}, 0.02),
        (DoubleWell((64,)), {"mass": 3.0, "mu": 3.0, "tilt": 0.05}, 0.02),
    ],
)
def test_gauss_nodes_against_a_fine_uniform_grid(theory, values, spacing, monkeypatch):
    """Also the splitting of two wells, 5e-26, to a relative accuracy."""
    couplings = theory.from_values(**values)
    grid = TransferMatrix(theory, couplings, spacing=spacing)
    monkeypatch.setattr("theories.transfer_matrix.uniform_rules", None)  # they are enough
    exact = TransferMatrix(theory, couplings)
    assert exact.log_z == pytest.approx(grid.log_z, rel=1e-12, abs=1e-12)
    assert exact.energy_gap == pytest.approx(grid.energy_gap, rel=1e-11)
    for power in (1, 2, 4, 8):
        size = grid.moment(power + power % 2) ** (power / (power + power % 2))
        assert exact.moment(power) == pytest.approx(grid.moment(power), rel=1e-11, abs=1e-11 * size)
    connected = grid.connected_correlator()
    error = 1e-11 * connected[0]
    np.testing.assert_allclose(exact.connected_correlator(), connected, rtol=1e-8, atol=error)
    ours, theirs = exact.observables(), grid.observables()
    assert set(ours) == set(theirs)
    large = theory.sites * grid.magnetization_squared  # a small difference of two of these
    assert ours.pop("susceptibility_abs") == pytest.approx(
        theirs["susceptibility_abs"], rel=1e-10, abs=1e-12 * large
    )
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-10, atol=1e-11, err_msg=name)
    for ours, theirs in zip(
        exact.magnetization_distribution(), grid.magnetization_distribution(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-10 * theirs.max())
    x, density = exact.marginal()
    np.testing.assert_allclose(np.sum(density) * (x[1] - x[0]), 1, rtol=1e-11)
    np.testing.assert_allclose(np.interp(x, *grid.marginal()), density, atol=0.01 * density.max())


def test_the_gap_is_that_of_the_infinite_chain():
    """Of every length, also where one well is too rare to count in averages."""
    gaps = [TransferMatrix(Phi4((n,)), Phi4Couplings(m=4.0)).energy_gap for n in (16, 64, 1000)]
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-11)


@pytest.mark.parametrize(("theory", "couplings"), CHAINS)
def test_derivatives_of_log_z_are_averages_of_the_action(theory, couplings):
    """∂_θ log Z = -⟨∂_θ S⟩ for every coupling, the averages from moments and correlators."""
    exact = TransferMatrix(theory, couplings)
    sites = theory.sites
    moments = np.array([1.0, *(exact.moment(power) for power in (1, 2, 3, 4))])
    bonds = 2 * sites * (moments[2] - exact.correlator()[1])
    if isinstance(theory, Phi4):
        _, lam, a = couplings
        third = moments @ [-(a**3), 3 * a**2, -3 * a, 1, 0]
        fourth = moments @ [a**4, -4 * a**3, 6 * a**2, -4 * a, 1]
        average = {"m": -moments[2], "lam": fourth, "alpha": -4 * lam * third}
        average = {name: sites * value for name, value in average.items()}
    elif isinstance(theory, DoubleWell):
        mass, mu, lam, tilt, period = couplings
        step = period / sites
        kinetic = bonds / (2 * step)
        potential = sites * (lam / 4 * moments[4] - mu / 2 * moments[2] + tilt * moments[1])
        average = {
            "mass": kinetic,
            "mu": -period / 2 * moments[2],
            "lam": period / 4 * moments[4],
            "tilt": period * moments[1],
            "period": potential / sites - mass * kinetic / period,
        }
    else:
        average = {"mass_squared": sites * moments[2]}
    assert set(average) == set(couplings._fields)
    for name, value in average.items():

        def log_z(change, name=name):
            moved = couplings._replace(**{name: getattr(couplings, name) + change})
            return TransferMatrix(theory, moved).log_z

        h = 1e-3 * max(0.2, abs(getattr(couplings, name)))
        near, far = log_z(h) - log_z(-h), log_z(2 * h) - log_z(-2 * h)
        derivative = (8 * near - far) / (12 * h)
        np.testing.assert_allclose(derivative, -value, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("theory", "couplings"), CHAINS)
def test_virial_theorem_and_the_action_density(theory, couplings):
    """⟨φ ∂S/∂φ⟩ = 1 at every site, by parts; and S is its own sum of averages."""
    exact = TransferMatrix(theory, couplings)
    x, density = exact.marginal()
    step = 1e-4
    slope = theory.potential(x + step, couplings) - theory.potential(x - step, couplings)
    bond = 2 * theory.stiffness(couplings) * (exact.moment(2) - exact.correlator()[1])
    virial = 2 * bond + np.sum(density * x * slope / (2 * step)) * (x[1] - x[0])
    np.testing.assert_allclose(virial, 1.0, atol=1e-6)
    site = np.sum(density * theory.potential(x, couplings)) * (x[1] - x[0])
    np.testing.assert_allclose(exact.action_density, bond + site, rtol=1e-11)


@pytest.mark.usefixtures("unchecked")
def test_two_sites_against_quadrature():
    theory, couplings = Phi4((2,)), Phi4Couplings(m=0.8, lam=0.3, alpha=0.3)
    exact = TransferMatrix(theory, couplings)

    def integral(f):
        """∫ f e^{-S}, both bonds of the two-site ring, in rotated coordinates with a cut at M=0."""

        def weight(d, m):
            a, b = m + d / 2, m - d / 2
            action = 2 * d * d + theory.potential(a, couplings) + theory.potential(b, couplings)
            return f(a, b, m) * np.exp(-action)

        options = {"epsabs": 1e-11, "epsrel": 1e-11}
        below = integrate.dblquad(weight, -5, 0, -7, 7, **options)[0]
        return below + integrate.dblquad(weight, 0, 5, -7, 7, **options)[0]

    z = integral(lambda a, b, m: 1.0)
    np.testing.assert_allclose(exact.log_z, np.log(z), rtol=1e-10)
    for value, f in [
        (exact.moment(3), lambda a, b, m: a**3),
        (exact.correlator()[1], lambda a, b, m: a * b),
        (exact.abs_magnetization, lambda a, b, m: abs(m)),
        (exact.positive_mode_weight, lambda a, b, m: float(m > 0)),
        (exact.magnetization_squared, lambda a, b, m: m**2),
        (1 - exact.binder_cumulant, lambda a, b, m: m**4 / (3 * exact.magnetization_squared**2)),
    ]:
        np.testing.assert_allclose(value, integral(f) / z, rtol=1e-8)


@pytest.mark.parametrize("mass_squared", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("length", [2, 3, 16, 33])
def test_free_field(length, mass_squared):
    theory, couplings = FreeField((length,)), FreeFieldCouplings(mass_squared)
    exact = TransferMatrix(theory, couplings)
    np.testing.assert_allclose(exact.log_z, theory.log_z(couplings), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(exact.correlator(), theory.propagator(couplings), atol=1e-10)
    # cosh E = 1 + M²/2 is the pole of the propagator.
    np.testing.assert_allclose(exact.energy_gap, np.arccosh(1 + mass_squared / 2), rtol=1e-11)
    np.testing.assert_allclose(exact.action_density, 0.5, rtol=1e-11)
    # M is Gaussian with variance 1/(2 N M²).
    variance = 1 / (2 * length * mass_squared)
    np.testing.assert_allclose(exact.susceptibility, length * variance, rtol=1e-10)
    np.testing.assert_allclose(exact.abs_magnetization, np.sqrt(2 * variance / np.pi), rtol=1e-11)
    np.testing.assert_allclose(exact.binder_cumulant, 0.0, atol=1e-10)
    m, density = exact.magnetization_distribution()
    gaussian = np.exp(-(m**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    np.testing.assert_allclose(density, gaussian, atol=1e-12 * gaussian.max())


def test_orthants_of_the_gaussian():
    """For two correlated Gaussians P(both > 0) = 1/4 + arcsin(ρ)/2π."""
    exact = TransferMatrix(FreeField((2,)), FreeFieldCouplings(0.3))
    variance, covariance = exact.correlator()
    expected = 0.25 + np.arcsin(covariance / variance) / (2 * np.pi)
    np.testing.assert_allclose(exact.probability_all_positive, expected, rtol=1e-11)
    np.testing.assert_allclose(exact.probability_all_negative, expected, rtol=1e-11)


@pytest.mark.parametrize("m", [0.25, 0.5])
def test_orthants_against_another_quadrature(m):
    """Midpoint rule on [0, ∞), which errs by O(h²) at the sharp edge: extrapolated."""
    exact = TransferMatrix(Phi4((16,)), Phi4Couplings(m=m))

    def midpoint(h):
        x = np.arange(h / 2, 8, h)
        v = -m * x**2 + (x - 0.01) ** 4 / 16
        matrix = h * np.exp(-(np.subtract.outer(x, x) ** 2) - np.add.outer(v, v) / 2)
        return np.trace(np.linalg.matrix_power(matrix, 16))

    restricted = (4 * midpoint(0.02) - midpoint(0.04)) / 3
    expected = restricted / np.exp(exact.log_z)
    np.testing.assert_allclose(exact.probability_all_positive, expected, rtol=1e-6)


@pytest.mark.parametrize(("theory", "couplings"), CHAINS)
def test_distribution_of_the_magnetization(theory, couplings):
    exact = TransferMatrix(theory, couplings)
    m, density = exact.magnetization_distribution(8001)
    width = m[1] - m[0]
    assert density.min() > -1e-11 * density.max()
    np.testing.assert_allclose(np.sum(density) * width, 1, rtol=1e-11)
    np.testing.assert_allclose(np.sum(m * density) * width, exact.moment(1), atol=1e-10)
    second = np.mean(exact.correlator())
    np.testing.assert_allclose(np.sum(m**2 * density) * width, second, rtol=1e-10)
    # |M| and the step at 0 have edges: integrate from there.
    assert m[4000] == 0
    right, left = m >= 0, m <= 0
    positive = CubicSpline(m[right], density[right]).integrate(0, m[-1])
    np.testing.assert_allclose(exact.positive_mode_weight, positive, rtol=1e-9, atol=1e-13)
    magnitude = CubicSpline(m[right], m[right] * density[right]).integrate(0, m[-1])
    magnitude -= CubicSpline(m[left], m[left] * density[left]).integrate(m[0], 0)
    np.testing.assert_allclose(exact.abs_magnetization, magnitude, rtol=1e-9)


def test_odd_coupling_reflects_every_answer():
    right = TransferMatrix(Phi4((8,)), Phi4Couplings(m=0.6, alpha=0.1))
    left = TransferMatrix(Phi4((8,)), Phi4Couplings(m=0.6, alpha=-0.1))
    np.testing.assert_allclose(left.log_z, right.log_z, rtol=1e-13)
    np.testing.assert_allclose(left.magnetization, -right.magnetization, rtol=1e-11)
    np.testing.assert_allclose(left.positive_mode_weight, 1 - right.positive_mode_weight)
    np.testing.assert_allclose(left.probability_all_positive, right.probability_all_negative)


def test_stiffer_or_longer_than_exponentials_can_hold():
    """log Z of a chain of a thousand sites is four thousand; deep wells reach 10⁵."""
    long = TransferMatrix(Phi4((1000,)), Phi4Couplings(m=1.0))
    longer = TransferMatrix(Phi4((2000,)), Phi4Couplings(m=1.0))
    np.testing.assert_allclose(longer.log_z / long.log_z, 2, rtol=1e-10)
    deep = TransferMatrix(Phi4((16,)), Phi4Couplings(m=40.0))
    assert deep.change_on_refining < 1e-11
    # Laplace: a well at (φ-α)³ ≈ 8mφ with curvature 4m, and O(1/action) corrections.
    x = deep.moment(1)
    stationary = 16 * (40 * x**2 - (x - 0.01) ** 4 / 16)
    gaussian = FreeField((16,)).log_z(FreeFieldCouplings(-40 + 6 / 16 * x**2))
    np.testing.assert_allclose(deep.log_z, stationary + gaussian, atol=0.05)


def test_ultralocal_limit():
    """A period so long that the bonds are loose: sites decouple and Z is one integral to the N."""
    couplings = DoubleWellCouplings(mass=1e-9, mu=1.0, lam=1.0, period=4.0)
    exact = TransferMatrix(DoubleWell((4,)), couplings)
    one = integrate.quad(lambda x: np.exp(x**2 / 2 - x**4 / 4), -8, 8, epsabs=1e-13)[0]
    np.testing.assert_allclose(exact.log_z, 4 * np.log(one), rtol=1e-8)
    quartic = DoubleWellCouplings(mass=1e-9, mu=0.0, lam=4.0, period=2.0)
    exact = TransferMatrix(DoubleWell((2,)), quartic)
    np.testing.assert_allclose(exact.log_z, 2 * np.log(2 * special.gamma(1.25)), rtol=1e-8)


def test_observables_have_their_usual_names():
    answers = TransferMatrix(Phi4((6,)), Phi4Couplings()).observables()
    assert set(answers) == {
        *("magnetization", "abs_magnetization", "susceptibility", "susceptibility_abs"),
        *("binder_cumulant", "phi2", "phi4", "action_density", "correlator"),
        *("correlation_length", "energy_gap", "positive_mode_weight", "log_z"),
    }
    assert answers.pop("correlator").shape == (6,)
    assert all(type(value) is float for value in answers.values())


def test_what_is_not_a_chain_is_refused():
    with pytest.raises(LatticeFlowsError, match=r"chains only, not for shape \(4, 4\)"):
        TransferMatrix(Phi4((4, 4)), Phi4Couplings())


def test_bad_couplings_are_refused():
    with pytest.raises(LatticeFlowsError, match="lam must be greater than 0"):
        TransferMatrix(Phi4((4,)), Phi4Couplings(lam=-1.0))
    with pytest.raises(LatticeFlowsError, match="one set of couplings"):
        TransferMatrix(Phi4((4,)), Phi4Couplings(m=np.array([0.1, 0.2])))


def test_couplings_beyond_any_sensible_grid_are_refused():
    with pytest.raises(LatticeFlowsError, match="grid points"):
        TransferMatrix(FreeField((2,)), FreeFieldCouplings(1e-9))


@pytest.mark.parametrize("m", [1e200, 1e308])
def test_absurd_couplings_are_refused_with_one_line(m):
    with pytest.raises(LatticeFlowsError, match="give smaller couplings"):
        TransferMatrix(Phi4((4,)), Phi4.Couplings(m=m))
