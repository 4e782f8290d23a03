"""Derivatives with respect to couplings: against quadrature, closed forms, repeated experiments."""

import json

import numpy as np
import pytest
from helpers import free_answers, free_draws, free_slopes

import theories
from observables import LONG_NAMES, derivative_names, derivatives, exact_derivatives
from observables.derivatives import derivative_quantities
from observables.orbit import actions
from theories import DoubleWell, FreeField, Phi4, TransferMatrix, TwoGaussians


def plane():
    """Quadrature for two sites and functions with a kink at M = 0: nodes (n, 2), weights (n,)."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    half, step = 4.5 * (nodes + 1), 0.08
    u = np.concatenate([-half[::-1], half])
    v = np.arange(-7, 7, step)
    u_weights = np.concatenate([weights[::-1], weights]) * 4.5
    grid = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(-1, 2)
    turned = np.stack([grid[:, 0] + grid[:, 1], grid[:, 0] - grid[:, 1]], axis=1) / np.sqrt(2)
    return turned, np.repeat(u_weights * step, len(v))


@pytest.mark.parametrize("orbit", [True, False])
@pytest.mark.parametrize(
    ("theory", "couplings"),
    [
        (Phi4((2,)), {"m": 0.9, "lam": 0.3, "alpha": 0.05}),
        (DoubleWell((2,)), {"mass": 1.2, "mu": 1.5, "lam": 0.8, "tilt": 0.1, "period": 1.5}),
    ],
    ids=["phi4", "double-well"],
)
def test_quadrature_over_two_sites_has_the_derivatives_of_the_exact_answers(
    theory, couplings, orbit
):
    """The averages here are integrals, the exact answers those of the transfer matrix."""
    couplings = theory.from_values(**couplings)
    names = couplings._fields
    measured = derivative_quantities(theory, names)
    phi, weights = plane()
    weights = weights * np.exp(-actions(theory, couplings, phi))
    averages = weights @ measured.samples(couplings, phi, orbit) / weights.sum()
    exact = exact_derivatives(theory, couplings, names)
    assert exact is not None and list(exact) == list(measured.long_names)
    for (name, expected), value in zip(exact.items(), measured.values(averages), strict=True):
        assert value == pytest.approx(expected, rel=1e-6, abs=1e-7), name


def test_exact_derivatives_of_the_free_field_are_the_closed_forms():
    theory = FreeField((6,))
    found = exact_derivatives(theory, theory.from_values(mass_squared=0.4), ["mass_squared"])
    assert found is not None
    for name, slope in free_slopes(theory, 0.4).items():
        assert found[f"d_{name}_d_mass_squared"] == pytest.approx(slope, abs=1e-6), name
    difference = free_answers(theory, 0.4001)["phi4"] - free_answers(theory, 0.3999)["phi4"]
    assert found["d_phi4_d_mass_squared"] == pytest.approx(difference / 2e-4, rel=1e-6)


def test_exact_slopes_of_log_z_are_averages_of_the_action():
    """∂_m log Z = N⟨φ²⟩ and ∂_λ log Z = -⟨Σ(φ-α)⁴⟩, where two wells differ by α alone."""
    theory = Phi4((16,))
    couplings = theory.from_values(m=0.75)
    found = exact_derivatives(theory, couplings, ["m", "lam"])
    exact = TransferMatrix(theory, couplings)
    assert found is not None
    assert found["d_log_z_d_m"] == pytest.approx(16 * exact.moment(2), rel=1e-8)
    x, p = exact.marginal()
    quartic = np.sum(p * (x - 0.01) ** 4) * (x[1] - x[0])
    assert found["d_log_z_d_lam"] == pytest.approx(-16 * quartic, rel=1e-8)


@pytest.mark.usefixtures("unchecked")
def test_error_bars_cover_the_truth():
    """68 % of 400 repetitions within one standard error, for every derivative."""
    theory, rng = FreeField((2, 2)), np.random.default_rng(1)
    exact = free_slopes(theory, 0.5)
    hits = {name: [] for name in exact}
    for _ in range(400):
        found = free_draws(theory, 0.5, 0.42, rng, 2500).derivatives(["mass_squared"])
        for name, slope in exact.items():
            value, error = found[f"d_{name}_d_mass_squared"]
            hits[name].append(abs(value - slope) < error)
    covered = {name: np.mean(hit) for name, hit in hits.items()}
    for name in ("magnetization", "positive_mode_weight"):  # known by symmetry
        del covered[name]
    assert len(covered) == 8
    assert all(0.62 <= share <= 0.74 for share in covered.values()), covered


def test_draws_of_a_chain_agree_with_the_exact_derivatives(rng):
    """Exact samples where the wells differ: every derivative with respect to every coupling.

    Fails by chance in about 1 of 10⁵ (thirty pulls beyond 5 standard errors).
    """
    theory = Phi4((8,))
    couplings = theory.from_values(m=0.6, alpha=0.03)
    phi = TransferMatrix(theory, couplings).sample(rng, 20_000)
    names = couplings._fields
    exact = exact_derivatives(theory, couplings, names)
    assert exact is not None
    for orbit in (True, False):
        found = derivatives(theory, couplings, phi, None, names, orbit=orbit)
        assert list(found) == list(derivative_names(theory, names)) == list(exact)
        for name, estimate in found.items():
            assert abs(estimate.value - exact[name]) < 5 * estimate.stderr, name
    averaged = derivatives(theory, couplings, phi, None, names)
    assert averaged["d_magnetization_d_m"].stderr < found["d_magnetization_d_m"].stderr


def test_draws_of_markov_chains_count_as_often_as_they_are_new(rng):
    """Each draw 20 times over, by the Γ-method: the errors of the draws themselves.

    Those of 2000 steps that remember 20 are good to 20 %.
    """
    theory = Phi4((6,))
    couplings = theory.from_values(m=0.3)
    phi = TransferMatrix(theory, couplings).sample(rng, 2000)
    alone = derivatives(theory, couplings, phi, None, ["m"])
    chains = derivatives(theory, couplings, np.repeat(phi, 20, axis=0), None, ["m"], chains=4)
    for name, estimate in alone.items():
        assert chains[name].stderr == pytest.approx(estimate.stderr, rel=0.3, abs=1e-12), name
        assert chains[name].value == pytest.approx(estimate.value, abs=2 * estimate.stderr), name


def test_what_symmetry_fixes_does_not_change():
    theory = Phi4((4,))
    couplings = theory.from_values(alpha=0.0)
    phi = np.random.default_rng(2).normal(1, 1, size=(300, 4))
    found = derivatives(theory, couplings, phi, None, ["m"])
    assert found["d_magnetization_d_m"] == (0, 0)
    assert found["d_positive_mode_weight_d_m"].value == pytest.approx(0, abs=1e-13)
    assert found["d_positive_mode_weight_d_m"].stderr < 1e-13


def test_off_the_lattice(rng):
    theory = TwoGaussians()
    couplings = theory.from_values(beta=0.8)
    exact = exact_derivatives(theory, couplings, ["beta"])
    answers = theory.exact(couplings)
    assert exact is not None and answers is not None
    found = derivatives(theory, couplings, answers.sample(rng, 20_000), None, ["beta"])
    assert set(found) == set(exact) and "d_mode_1_d_beta" in found
    for name, estimate in found.items():
        assert abs(estimate.value - exact[name]) < 5 * estimate.stderr, name


def test_where_nothing_exact_is_known_there_is_none():
    cube = Phi4((2, 2, 2))
    assert exact_derivatives(cube, cube.from_values(), ["m"]) is None
    theory = TwoGaussians()  # exact answers end at β = 5
    assert exact_derivatives(theory, theory.from_values(beta=5.0), ["beta"]) is None


def test_an_error_that_cannot_be_told_is_null():
    theory = theories.make("phi4", (4,))
    log_w = np.zeros(300)
    log_w[3] = 800
    phi = np.random.default_rng(3).normal(size=(300, 4))
    found = derivatives(theory, theory.from_values(), phi, log_w, ["m"])
    assert set(found) == {f"d_{name}_d_m" for name in LONG_NAMES}
    text = json.dumps({k: e.as_json() for k, e in found.items()}, allow_nan=False)
    assert json.loads(text)["d_phi2_d_m"]["stderr"] is None
