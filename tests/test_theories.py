"""Actions, symmetries, conventions and the free field, against formulas written out by hand."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import theories
from theories import (
    DoubleWell,
    DoubleWellCouplings,
    FreeField,
    FreeFieldCouplings,
    LatticeFlowsError,
    LatticeTheory,
    Phi4,
    Phi4Couplings,
    Phi4Hopping,
    Phi4HoppingCouplings,
    TransferMatrix,
)
from theories.lattice import (
    bond_energy,
    distance_classes,
    laplacian_eigenvalues,
    neighbour_sum,
    point_group,
    transform,
)

PHI4 = Phi4Couplings(m=0.7, lam=0.3, alpha=0.2)
HOPPING = Phi4HoppingCouplings(kappa=0.3, lam=0.4)
WELL = DoubleWellCouplings(mass=1.2, mu=2.0, lam=0.7, tilt=0.3, period=3.0)


def random_field(seed: int, shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


# -- actions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (5,), (2, 3), (4, 4), (2, 3, 4)])
def test_phi4_action_is_the_sum_over_sites_and_bonds(shape, rng):
    phi = rng.normal(size=shape)
    m, lam, alpha = PHI4
    expected = 0.0
    for site in np.ndindex(*shape):
        expected += -m * phi[site] ** 2 + lam * (phi[site] - alpha) ** 4
        for axis, length in enumerate(shape):
            ahead = list(site)
            ahead[axis] = (ahead[axis] + 1) % length
            expected += (phi[site] - phi[tuple(ahead)]) ** 2
    np.testing.assert_allclose(Phi4(shape).action(jnp.asarray(phi), PHI4), expected, rtol=1e-13)


def test_phi4_derivatives_are_those_of_the_formula(rng):
    theory, phi = Phi4((9,)), jnp.asarray(rng.normal(size=9))
    m, lam, alpha = PHI4
    of_couplings = jax.grad(theory.action, argnums=1)(phi, PHI4)
    np.testing.assert_allclose(of_couplings.m, -np.sum(phi**2), rtol=1e-13)
    np.testing.assert_allclose(of_couplings.lam, np.sum((phi - alpha) ** 4), rtol=1e-13)
    np.testing.assert_allclose(of_couplings.alpha, -4 * lam * np.sum((phi - alpha) ** 3))
    gradient = 4 * phi - 2 * np.roll(phi, 1) - 2 * np.roll(phi, -1)
    gradient += -2 * m * phi + 4 * lam * (phi - alpha) ** 3
    np.testing.assert_allclose(jax.grad(theory.action)(phi, PHI4), gradient, rtol=1e-12)
    laplacian = np.sum(4 - 2 * m + 12 * lam * (phi - alpha) ** 2)
    hessian = jax.hessian(theory.action)(phi, PHI4)
    np.testing.assert_allclose(np.trace(hessian), laplacian, rtol=1e-13)


def test_double_well_action_is_the_discretised_path(rng):
    theory, path = DoubleWell((7,)), rng.normal(size=7)
    mass, mu, lam, tilt, period = WELL
    step = period / 7
    velocity = (np.roll(path, -1) - path) / step
    energy = mass / 2 * velocity**2 + lam / 4 * path**4 - mu / 2 * path**2 + tilt * path
    np.testing.assert_allclose(theory.action(jnp.asarray(path), WELL), step * energy.sum())
    derivatives = jax.grad(theory.action, argnums=1)(jnp.asarray(path), WELL)
    np.testing.assert_allclose(derivatives.mass, step * np.sum(velocity**2) / 2)
    np.testing.assert_allclose(derivatives.mu, -step * np.sum(path**2) / 2)
    np.testing.assert_allclose(derivatives.lam, step * np.sum(path**4) / 4)
    np.testing.assert_allclose(derivatives.tilt, step * np.sum(path))
    stretched = np.sum(energy) - np.sum(mass * velocity**2)
    np.testing.assert_allclose(derivatives.period, stretched / 7)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 3)])
def test_the_hopping_form_is_as_the_papers_write_it_and_phi4_in_other_units(shape, rng):
    theory, phi = Phi4Hopping(shape), rng.normal(size=shape)
    kappa, lam = HOPPING
    neighbours = sum(np.roll(phi, -1, axis) for axis in range(len(shape)))
    written = np.sum(-2 * kappa * phi * neighbours + (1 - 2 * lam) * phi**2 + lam * phi**4)
    np.testing.assert_allclose(theory.action(jnp.asarray(phi), HOPPING), written, rtol=1e-12)
    same = Phi4(shape).couplings_from_hopping(kappa, lam)
    there = Phi4(shape).action(jnp.asarray(same.field_scale * phi), same.couplings)
    np.testing.assert_allclose(there, written, rtol=1e-12)


@pytest.mark.parametrize(
    ("theory", "couplings"),
    [
        (Phi4((3,)), PHI4),
        (DoubleWell((5,)), WELL),
        (Phi4Hopping((3, 4)), HOPPING),
        (FreeField((3, 3)), FreeFieldCouplings(0.4)),
    ],
)
def test_quadratic_and_leading_term_are_taylor_coefficients(theory, couplings):
    even = couplings._replace(**{name: 0.0 for name in theory.z2_odd})
    second = jax.grad(jax.grad(theory.potential))
    power, coefficient = theory.leading(couplings)
    highest = {2: second, 4: jax.grad(jax.grad(second))}[power]
    np.testing.assert_allclose(theory.quadratic(couplings), second(0.0, even) / 2, rtol=1e-14)
    np.testing.assert_allclose(
        coefficient, highest(0.5, couplings) / math.factorial(power), rtol=1e-12
    )
    unknown = LatticeTheory.quadratic(theory, couplings)  # where a theory does not say
    np.testing.assert_allclose(unknown, theory.quadratic(couplings), rtol=1e-14)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", list(theories.THEORIES))
def test_action_keeps_the_precision_of_the_field(name, dtype):
    theory = theories.make(name, theories.find(name).own_shape or (4,))
    couplings = jax.tree.map(jnp.asarray, theory.from_values())
    for given_couplings in (theory.from_values(), couplings):
        action = jax.jit(theory.action)(jnp.ones(theory.shape, dtype), given_couplings)
        assert action.dtype == dtype
        assert action.shape == ()


@pytest.mark.parametrize("name", ["phi4", "phi4-hopping", "double-well", "free-field"])
def test_potential_takes_numpy_and_jax_alike(name, rng):
    theory, x = theories.make(name, (4,)), rng.normal(size=6)
    with_numpy = theory.potential(x, theory.from_values())
    assert isinstance(with_numpy, np.ndarray)
    with_jax = theory.potential(jnp.asarray(x), theory.from_values())
    np.testing.assert_allclose(with_jax, with_numpy, rtol=1e-14)


# -- symmetries -------------------------------------------------------------------------------

CASES = [
    *((Phi4(shape), PHI4) for shape in [(2,), (6,), (3, 4), (4, 4), (2, 3, 3), (3, 3, 3)]),
    (DoubleWell((6,)), WELL),
    (Phi4Hopping((3, 3)), HOPPING),
    *((FreeField(shape), FreeFieldCouplings(0.4)) for shape in [(5,), (3, 3), (2, 2, 3)]),
]


@given(case=st.sampled_from(CASES), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_action_is_invariant_under_its_symmetries(case, seed, data):
    theory, couplings = case
    phi = random_field(seed, theory.shape)
    action = theory.action(phi, couplings)
    symmetries = theory.symmetries
    shift = [data.draw(st.integers(0, period - 1)) for period in symmetries.translations]
    moved = jnp.roll(phi, shift, axis=tuple(range(len(shift))))
    np.testing.assert_allclose(theory.action(moved, couplings), action, rtol=1e-12)
    element = data.draw(st.sampled_from(symmetries.point_group))
    moved = transform(phi, element)
    np.testing.assert_allclose(theory.action(moved, couplings), action, rtol=1e-12)
    np.testing.assert_allclose(theory.action(-phi, theory.flip(couplings)), action, rtol=1e-12)
    even = couplings._replace(**{name: 0.0 for name in symmetries.z2_odd})
    assert theory.is_symmetric(even)
    np.testing.assert_allclose(theory.action(-phi, even), theory.action(phi, even), rtol=1e-12)
    if symmetries.z2_odd:
        assert not theory.is_symmetric(couplings)
        assert abs(theory.action(-phi, couplings) - action) > 1e-9


@pytest.mark.parametrize(
    ("shape", "order"), [((5,), 2), ((4, 4), 8), ((4, 5), 4), ((3, 3, 3), 48), ((3, 4, 3), 16)]
)
def test_point_group_is_the_whole_group(shape, order):
    sites = jnp.arange(np.prod(shape)).reshape(shape)
    group = point_group(shape)
    assert np.array_equal(transform(sites, group[0]), sites)
    images = {tuple(np.asarray(transform(sites, element)).ravel()) for element in group}
    assert len(group) == len(images) == order
    # Closed under composition, and the origin stays where it is.
    for first, second in itertools.product(group[:8], group):
        image = transform(transform(sites, first), second)
        assert tuple(np.asarray(image).ravel()) in images
        assert image.ravel()[0] == 0


@pytest.mark.parametrize("shape", [(2,), (7,), (4, 4), (4, 6), (3, 4, 3)])
def test_distance_classes_are_the_orbits_of_the_point_group(shape):
    labels = distance_classes(shape)
    sites = np.arange(np.prod(shape)).reshape(shape)
    images = np.array([transform(jnp.asarray(sites), g).ravel() for g in point_group(shape)])
    orbits = [frozenset(images[:, site]) for site in range(sites.size)]
    for a, b in itertools.product(range(sites.size), repeat=2):
        assert (orbits[a] == orbits[b]) == (labels.ravel()[a] == labels.ravel()[b])
    assert labels.ravel()[0] == 0
    assert set(labels.ravel()) == set(range(labels.max() + 1))


@pytest.mark.parametrize("shape", [(2,), (5,), (2, 3), (3, 3, 2)])
def test_lattice_laplacian(shape, rng):
    phi = jnp.asarray(rng.normal(size=shape))
    energy = bond_energy(phi)
    laplacian = neighbour_sum(phi) - 2 * len(shape) * phi
    np.testing.assert_allclose(energy, -jnp.sum(phi * laplacian), rtol=1e-12)
    modes = np.fft.fftn(phi, norm="ortho")
    np.testing.assert_allclose(np.sum(laplacian_eigenvalues(shape) * abs(modes) ** 2), energy)


# -- the free field ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (5,), (16,), (3, 4), (4, 4), (2, 3, 4)])
def test_free_field_is_the_gaussian_of_its_action(shape):
    theory, couplings = FreeField(shape), FreeFieldCouplings(0.37)
    volume = theory.sites
    matrix = jax.hessian(theory.action)(jnp.zeros(shape), couplings).reshape(volume, volume)
    log_z = volume / 2 * np.log(2 * np.pi) - np.linalg.slogdet(matrix).logabsdet / 2
    np.testing.assert_allclose(theory.log_z(couplings), log_z, rtol=1e-12)
    covariance = np.linalg.inv(matrix)
    np.testing.assert_allclose(theory.propagator(couplings).ravel(), covariance[0], atol=1e-13)


# -- conventions ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 3, 3)])
def test_mass_squared_convention(shape, rng):
    phi = jnp.asarray(rng.normal(size=shape))
    couplings = Phi4.couplings_from_mass_squared(-1.3, 0.8)
    expected = bond_energy(phi) - 1.3 * jnp.sum(phi**2) + 0.8 * jnp.sum(phi**4)
    np.testing.assert_allclose(Phi4(shape).action(phi, couplings), expected, rtol=1e-13)
    free = FreeField(shape).action(phi, FreeFieldCouplings(0.6))
    same = Phi4(shape).action(phi, Phi4.couplings_from_mass_squared(0.6, 0.0))
    np.testing.assert_allclose(same, free, rtol=1e-13)


@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 3, 3)])
def test_hopping_convention(shape, rng):
    theory, kappa, lam_h = Phi4(shape), 0.27, 0.022
    hopping_field = jnp.asarray(rng.normal(size=shape))
    square = hopping_field**2
    hops = sum(hopping_field * jnp.roll(hopping_field, -1, axis) for axis in range(len(shape)))
    expected = jnp.sum((1 - 2 * lam_h) * square + lam_h * square**2 - 2 * kappa * hops)
    here = theory.couplings_from_hopping(kappa, lam_h)
    np.testing.assert_allclose(
        theory.action(here.field_scale * hopping_field, here.couplings), expected, rtol=1e-12
    )


@given(
    kappa=st.floats(0.01, 5.0),
    lam_h=st.floats(1e-3, 3.0),
    shape=st.sampled_from([(4,), (4, 4), (4, 4, 4)]),
)
def test_hopping_convention_goes_both_ways(kappa, lam_h, shape):
    theory = Phi4(shape)
    back = theory.hopping_from_couplings(theory.couplings_from_hopping(kappa, lam_h).couplings)
    np.testing.assert_allclose(back, (kappa, lam_h), rtol=1e-9)


class HoppingPhi4(Phi4):
    """The hopping form taken literally: -2κ φφ' = κ (φ-φ')² - κ φ² - κ φ'². `m` stands for κ."""

    def stiffness(self, couplings):
        return couplings.m

    def potential(self, x, couplings):
        kappa, lam_h = couplings.m, couplings.lam
        return (1 - 2 * lam_h - 2 * kappa) * x**2 + lam_h * x**4


@pytest.mark.parametrize(
    ("length", "kappa", "lam_h"), [(2, 0.7, 0.1), (9, 0.45, 0.022), (16, 2, 1)]
)
def test_hopping_convention_shifts_log_z(length, kappa, lam_h):
    here = Phi4((length,)).couplings_from_hopping(kappa, lam_h)
    ours = TransferMatrix(Phi4((length,)), here.couplings)
    theirs = TransferMatrix(HoppingPhi4((length,)), Phi4Couplings(m=kappa, lam=lam_h))
    np.testing.assert_allclose(theirs.log_z, ours.log_z + here.log_z_shift, rtol=1e-11)
    assert abs(here.log_z_shift) > 0.3
    np.testing.assert_allclose(ours.moment(2), here.field_scale**2 * theirs.moment(2), rtol=1e-11)


# -- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(), (1,), (0,), (4, 1), (-3,), (2.5,), ("8",), 16, None, (True,)]
)
@pytest.mark.usefixtures("unchecked")
def test_bad_shapes_are_refused(shape):
    with pytest.raises(LatticeFlowsError, match="at least 2 sites"):
        theories.make("phi4", shape)


@pytest.mark.usefixtures("unchecked")
def test_shape_may_hold_numpy_integers():
    assert Phi4(tuple(np.array([4, 6]))) == Phi4((4, 6))
    assert hash(Phi4((4, 6))) == hash(Phi4(tuple(np.array([4, 6]))))
    assert Phi4((4, 6)).sites == 24


def test_unknown_theory_is_refused_naming_the_known_ones():
    with pytest.raises(LatticeFlowsError, match=r"'ising'; choose from phi4, phi4-hopping"):
        theories.make("ising", (4,))


def test_unknown_coupling_is_refused_naming_the_known_ones():
    with pytest.raises(LatticeFlowsError, match="phi4 has no coupling mass; it has m, lam, alpha"):
        Phi4((4,)).from_values(mass=1.0)


def test_defaults_are_filled_in():
    assert Phi4((4,)).from_values(m=0.75) == Phi4Couplings(0.75, 1 / 16, 0.01)
    assert DoubleWell((4,)).from_values(tilt=0.1) == DoubleWellCouplings(1.5, 1.5, 1.0, 0.1, 4.0)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("phi4", {"lam": 0.0}, "lam must be greater than 0, got 0.0"),
        ("phi4", {"lam": -1.0}, "lam must be greater than 0"),
        ("phi4", {"m": float("nan")}, "m must be finite"),
        ("phi4", {"alpha": float("inf")}, "alpha must be finite"),
        ("phi4", {"m": "heavy"}, "m must be a number, got 'heavy'"),
        ("phi4", {"m": None}, "m must be"),
        ("phi4", {"lam": np.array([0.1, -0.1])}, "lam must be greater than 0"),
        ("double-well", {"mass": 0.0}, "mass must be greater than 0"),
        ("double-well", {"lam": 0.0}, "lam must be greater than 0"),
        ("double-well", {"period": -4.0}, "period must be greater than 0"),
        ("free-field", {"mass_squared": 0.0}, "mass_squared must be greater than 0"),
    ],
)
def test_bad_couplings_are_refused(name, values, message):
    theory = theories.make(name, (4,))
    with pytest.raises(LatticeFlowsError, match=message) as caught:
        theory.validate(theory.from_values(**values))
    assert "\n" not in str(caught.value)


def test_good_couplings_pass():
    Phi4((4,)).validate(Phi4Couplings(m=-2, lam=np.array([0.1, 0.2]), alpha=jnp.float64(0.1)))
    DoubleWell((4,)).validate(DoubleWellCouplings(mu=-1.0))


def test_couplings_of_another_theory_are_refused():
    with pytest.raises(LatticeFlowsError, match="phi4 takes phi4 couplings"):
        Phi4((4,)).validate(DoubleWellCouplings())


def test_double_well_is_a_path():
    with pytest.raises(LatticeFlowsError, match="one number of sites"):
        DoubleWell((4, 4))


@pytest.mark.usefixtures("unchecked")
def test_action_refuses_what_is_not_one_real_configuration():
    with pytest.raises(LatticeFlowsError, match=r"shape \(4,\), got \(3, 4\)"):
        Phi4((4,)).action(jnp.zeros((3, 4)), PHI4)
    with pytest.raises(LatticeFlowsError, match="real numbers"):
        Phi4((4,)).action(jnp.zeros(4, int), PHI4)


def test_hopping_form_refuses_what_it_cannot_say():
    with pytest.raises(LatticeFlowsError, match="no alpha"):
        Phi4((4,)).hopping_from_couplings(Phi4Couplings())
    with pytest.raises(LatticeFlowsError, match="kappa must be greater than 0"):
        Phi4((4,)).couplings_from_hopping(0.0, 0.1)
