"""Tori in two dimensions against the chain, the free field, brute force and themselves, turned."""

from __future__ import annotations

import numpy as np
import pytest

from theories import (
    FreeField,
    FreeFieldCouplings,
    LatticeFlowsError,
    Phi4,
    Phi4Couplings,
    Phi4Hopping,
    Phi4HoppingCouplings,
    TransferMatrix,
)
from theories.strip import StripSolution, cost
from theories.strip.answers import StripAnswers
from theories.strip.node_choice import NodeChoice

MASSIVE = Phi4Couplings(m=4.0, lam=6.975, alpha=0.0)
CRITICAL = Phi4((4, 4)).couplings_from_hopping(0.27, 0.02).couplings
SHIFTED = Phi4Couplings(m=3.0, lam=2.0, alpha=0.2)


def within(found: object, error: object, true: object, slack: float = 2e-13) -> None:
    """What is told differs from the truth by no more than the error that is told with it."""
    difference = np.abs(np.asarray(found) - np.asarray(true))
    assert np.all(difference <= np.asarray(error) + slack * (1 + np.abs(true))), (found, error)


# log Z of an independent program: a dense grid of Gauss nodes, another eigenvalue solver
@pytest.mark.parametrize(
    ("shape", "couplings", "log_z", "places"),
    [
        ((4, 4), MASSIVE, 3.2183289, 7e-8),
        ((4, 6), MASSIVE, 4.7367999, 7e-8),
        ((6, 4), MASSIVE, 4.7367999, 7e-8),
        ((6, 6), MASSIVE, 6.9849479, 7e-8),
        ((4, 4), CRITICAL, 1.739776, 5e-7),
        ((3, 5), CRITICAL, 1.7739018, 7e-8),
    ],
)
def test_known_values(shape, couplings, log_z, places):
    exact = StripSolution(Phi4(shape), couplings)
    assert exact.log_z == pytest.approx(log_z, abs=places)
    assert exact.log_z_error < 2e-7


@pytest.mark.parametrize(
    ("shape", "nodes", "across"), [((3, 5), 10, 6), ((4, 6), 8, 5), ((2, 7), 12, 5)]
)
@pytest.mark.parametrize("couplings", [MASSIVE, SHIFTED])
def test_rows_along_either_side(shape, nodes, across, couplings):
    """W × L = L × W: nothing that is computed on the way is the same."""
    theory = Phi4(shape)
    narrow = StripSolution(theory, couplings, nodes=nodes)
    wide = StripSolution(theory, couplings, nodes=across, along=0)
    assert (narrow.width, wide.width) == shape
    within(narrow.log_z, narrow.log_z_error + wide.log_z_error, wide.log_z)
    for power in (2, 4):
        (one, error), (two, more) = (x.moment_with_error(power) for x in (narrow, wide))
        within(one, error + more, two)


@pytest.mark.parametrize("couplings", [CRITICAL, SHIFTED])
def test_both_directions_of_a_square_are_alike(couplings):
    """Along the strip fields are joined by T^r, across it they are in one row."""
    found, error = StripSolution(Phi4((4, 4)), couplings, nodes=7).two_point_with_error()
    assert np.ptp(found) > 1e-2
    np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found, np.roll(found[::-1], 1, axis=0), rtol=0, atol=1e-9)
    assert error.max() < 1e-2


@pytest.mark.parametrize("couplings", [CRITICAL, Phi4Couplings(m=0.5, lam=1 / 16, alpha=0.01)])
@pytest.mark.parametrize("length", [2, 3, 10])
def test_a_row_of_one_site_is_a_chain(length, couplings):
    theory = Phi4((length,))
    chain = TransferMatrix(theory, couplings)
    exact = StripSolution(theory, couplings, nodes=22)
    answers, errors = exact.observables(), exact.errors()
    for name, value in chain.observables().items():
        within(answers[name], errors[name], value, 1e-11)
    slopes = exact.log_z_derivatives()
    within(slopes["m"][0], slopes["m"][1], length * chain.moment(2), 1e-11)
    m, density, error = exact.magnetization_distribution_with_error(401)
    inside = np.abs(m) < chain.magnetization_distribution(401)[0][-1]
    truth, _ = chain._distribution.density(m[inside])
    within(density[inside], error[inside], truth, 1e-10)


def brute(theory, couplings, points, reach):
    """log Z, ⟨φ²⟩, ⟨φ⁴⟩, ⟨φ_0 φ_x⟩, ⟨M⁴⟩, ⟨S⟩/V by the trapezoid rule on a grid of all sites."""
    sites = theory.sites
    x, step = np.linspace(*reach, points, retstep=True)
    fields = np.meshgrid(*[x] * sites, indexing="ij", sparse=True)
    index = np.arange(sites).reshape(theory.shape)
    action = sum(theory.potential(field, couplings) for field in fields)
    for axis in (0, 1):
        for here, there in zip(index.flat, np.roll(index, -1, axis).flat, strict=True):
            action = action + theory.stiffness(couplings) * (fields[here] - fields[there]) ** 2
    weight = np.exp(action.min() - action)
    total = weight.sum()
    m = sum(fields) / sites
    averages = [
        np.sum(weight * value) / total
        for value in (fields[0] ** 2, fields[0] ** 4, m**4, action / sites)
    ]
    pairs = [np.sum(weight * (fields[0] * field)) / total for field in fields]
    log_z = np.log(total) - action.min() + sites * np.log(step)
    return log_z, averages, np.reshape(pairs, theory.shape)


@pytest.mark.parametrize(
    ("shape", "couplings", "points", "reach"),
    [
        ((2, 2), CRITICAL, 41, (-3.1, 3.1)),
        ((2, 2), Phi4Couplings(m=1.0, lam=0.5, alpha=0.3), 41, (-2.6, 3.0)),
    ],
)
def test_against_brute_force(shape, couplings, points, reach):
    theory = Phi4(shape)
    log_z, averages, pairs = brute(theory, couplings, points, reach)
    exact = StripSolution(theory, couplings, nodes=16)
    assert exact.log_z == pytest.approx(log_z, abs=1e-9)
    found, error = exact.observables(), exact.errors()
    names = ("phi2", "phi4", "action_density")
    values = (averages[0], averages[1], averages[3])
    for name, value in zip(names, values, strict=True):
        within(found[name], error[name], value, 1e-9)
    within(exact.two_point_with_error()[0], exact.two_point_with_error()[1], pairs, 1e-9)
    second = pairs.mean()
    binder = 1 - averages[2] / (3 * second**2)
    within(found["binder_cumulant"], error["binder_cumulant"], binder, 1e-8)


@pytest.mark.parametrize(("couplings", "reach"), [(MASSIVE, (-1.5, 1.5)), (SHIFTED, (-2.0, 2.3))])
@pytest.mark.parametrize("length", [2, 3])
def test_against_a_uniform_grid(length, couplings, reach):
    """Two sites a row on a grid of 35 points each, and the matrix formed."""
    theory = Phi4((length, 2))
    x, step = np.linspace(*reach, 35, retstep=True)
    one, two = (field.reshape(-1) for field in np.meshgrid(x, x, indexing="ij"))
    row = 2 * (one - two) ** 2 + theory.potential(one, couplings) + theory.potential(two, couplings)
    bonds = np.subtract.outer(one, one) ** 2 + np.subtract.outer(two, two) ** 2
    matrix = step**2 * np.exp(-bonds - np.add.outer(row, row) / 2)
    powers = [np.linalg.matrix_power(matrix, r) for r in range(length + 1)]
    z = np.trace(powers[length])
    exact = StripSolution(theory, couplings, nodes=14)
    assert exact.log_z == pytest.approx(np.log(z), abs=1e-9)
    for power in (1, 2, 4):
        expected = np.diag(powers[length]) @ one**power / z
        within(*exact.moment_with_error(power), expected, 1e-9)
    pairs = [
        [
            np.sum((one[:, None] * powers[r]) * (field[:, None] * powers[length - r]).T) / z
            for field in (one, two)
        ]
        for r in range(length)
    ]
    found, error = exact.two_point_with_error()
    within(found, error, pairs, 1e-9)


@pytest.mark.parametrize("mass_squared", [0.4, 3.0])
@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (12, 2)])
def test_the_free_field(shape, mass_squared):
    theory, couplings = FreeField(shape), FreeFieldCouplings(mass_squared)
    exact = StripSolution(theory, couplings, nodes=9)
    closed = theory.exact(couplings)
    answers, errors = exact.observables(), exact.errors()
    for name, value in closed.observables().items():
        within(answers[name], errors[name], value, 1e-11)
    within(
        exact.two_point_with_error()[0],
        exact.two_point_with_error()[1],
        theory.propagator(couplings),
    )
    assert exact.log_z == pytest.approx(closed.log_z, abs=1e-3)


def test_weak_coupling_goes_to_the_free_field():
    """First order in λ: log Z - log Z_0 = -3 λ V ⟨φ²⟩_0²."""
    free, couplings = FreeField((4, 4)), FreeFieldCouplings(1.5)
    lam = 1e-4
    exact = StripSolution(Phi4((4, 4)), Phi4Couplings(m=-1.5, lam=lam, alpha=0.0))
    variance = free.propagator(couplings).flat[0]
    shift = exact.log_z - free.log_z(couplings)
    assert shift == pytest.approx(-3 * lam * 16 * variance**2, rel=1e-3)


def test_other_units_of_the_field():
    """The hopping form is the same theory: log Z_h = log Z - (V/2) ln κ."""
    shape = (4, 3)
    rescaled = Phi4(shape).couplings_from_hopping(0.27, 0.02)
    ours = StripSolution(Phi4(shape), rescaled.couplings)
    theirs = StripSolution(Phi4Hopping(shape), Phi4HoppingCouplings(0.27, 0.02))
    error = ours.log_z_error + theirs.log_z_error
    within(theirs.log_z, error, ours.log_z + rescaled.log_z_shift)
    within(theirs.moment(2) * 0.27, 1e-8, ours.moment(2))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "couplings",
    [CRITICAL, *(pytest.param(one, marks=pytest.mark.slow) for one in (MASSIVE, SHIFTED))],
)
def test_errors_bracket_the_truth_and_shrink(couplings):
    theory = Phi4((4, 3))
    best = StripSolution(theory, couplings, nodes=12)
    truth = best.observables()
    sizes = []
    for nodes in (5, 7, 9):
        exact = StripSolution(theory, couplings, nodes=nodes)
        answers, errors = exact.observables(), exact.errors()
        for name, value in truth.items():
            if f"{name}_bound" in answers:  # it is too small to be known with so few nodes
                assert abs(value) <= answers[f"{name}_bound"]
            elif name in errors:
                within(answers[name], errors[name], value, 1e-9)
        sizes.append(exact.log_z_error)
    assert sizes[-1] < 1e-2 * sizes[0]


def test_narrower_strips_take_off_what_the_nodes_err_by():
    """Five nodes are too few here; the truth is that of eight."""
    theory, couplings = Phi4Hopping((6, 6)), Phi4HoppingCouplings(0.25, 0.02)
    truth = StripSolution(theory, couplings, nodes=8)._answers(8).of_fields()
    corrected = StripSolution(theory, couplings, nodes=5, corrected=True)
    assert [strip.width for strip in corrected.narrower] == [4, 3]
    found = corrected._told(StripAnswers.of_fields, 5)
    for name in ("log_z", "phi2", "phi4", "action_density", "susceptibility"):
        within(found[name][0], found[name][1], truth[name][0])
        assert found[name][1] < 5e-3 * abs(truth[name][0])
    plain = corrected._answers(5).of_fields()
    errors = [abs(one["phi4"][0] - truth["phi4"][0]) for one in (found, plain)]
    assert errors[0] < errors[1] / 2


def test_narrower_strips_have_the_same_action():
    """Also of a theory whose potential depends on its shape."""

    class Sized(Phi4Hopping):
        def potential(self, x, couplings):
            return super().potential(x, couplings) * (1 + 1 / self.sites)

    theory, couplings = Sized((6, 6)), Phi4HoppingCouplings(0.25, 0.02)
    x = np.linspace(-2, 2, 9)
    for strip in StripSolution(theory, couplings, nodes=5, corrected=True).narrower:
        there = strip.theory.potential(x, couplings)
        np.testing.assert_array_equal(there, theory.potential(x, couplings))


def test_few_states_are_bounded():
    """Eigenstates that are left out are missed by less than the bound."""
    theory = Phi4((4, 3))
    choice = NodeChoice(lambda x: theory.potential(x, CRITICAL), 1.0, 3, True).best(7)

    def solved(target):
        return StripAnswers(theory, CRITICAL, 0, choice, target, target)

    all_of_them = solved(1e-16)
    for target in (1e-3, 1e-6, 1e-9):
        few = solved(target)
        assert len(few.states.rho) < len(all_of_them.states.rho)
        assert few.log_z()[0] <= all_of_them.log_z()[0] + 1e-13
        truth = all_of_them.of_fields() | all_of_them.of_magnetization()
        for name, (value, error) in (few.of_fields() | few.of_magnetization()).items():
            within(value, error, truth[name][0], 1e-11)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("theory", "couplings"),
    [
        pytest.param(Phi4((3, 2)), SHIFTED, marks=pytest.mark.slow),
        (Phi4Hopping((2, 2)), Phi4HoppingCouplings(0.25, 0.05)),
    ],
)
def test_derivatives_against_differences(theory, couplings):
    exact = StripSolution(theory, couplings, nodes=11)
    slopes = exact.log_z_derivatives()
    derivatives = exact.derivatives()
    for name, value in couplings._asdict().items():
        h = 1e-3 * (abs(value) or 1.0)

        def solved(change, name=name, value=value):
            return StripSolution(theory, couplings._replace(**{name: value + change}), nodes=13)

        values = {s: solved(s * h) for s in (-2, -1, 1, 2)}

        def slope(of, values=values, h=h):
            near, far = of(values[1]) - of(values[-1]), of(values[2]) - of(values[-2])
            return (8 * near - far) / (12 * h)

        within(slopes[name][0], slopes[name][1], slope(lambda one: one.log_z), 1e-6)
        within(*derivatives[name]["log_z"], slopes[name][0], 1e-6)
        phi2 = slope(lambda one: one.moment(2))
        within(*derivatives[name]["phi2"], phi2, 1e-6)


@pytest.mark.usefixtures("unchecked")
def test_an_odd_coupling_reflects_every_answer():
    theory, couplings = Phi4((4, 3)), SHIFTED._replace(alpha=0.01)
    right = StripSolution(theory, couplings, nodes=9).observables()
    left = StripSolution(theory, couplings._replace(alpha=-0.01), nodes=9).observables()
    assert 0.6 < right["positive_mode_weight"] < 0.999
    assert left["log_z"] == pytest.approx(right["log_z"], abs=1e-11)
    assert left["magnetization"] == pytest.approx(-right["magnetization"], abs=1e-10)
    assert left["positive_mode_weight"] == pytest.approx(
        1 - right["positive_mode_weight"], abs=1e-7
    )


def test_an_endless_strip():
    """log Z per site and the gap are the limits of a long torus."""
    exact = StripSolution(Phi4((64, 3)), MASSIVE)
    density, error = exact.strip_log_z_density
    within(exact.log_z / 192, error + 1e-10, density)
    gaps = exact.correlator_gaps()
    gap, error = exact.strip_gap
    assert gaps[10] == pytest.approx(gap, abs=1e-5 + error)


def test_a_gap_across_that_is_too_dear_is_left_out():
    """Rows of four sites take no time; the gap of slices across them is that of rows of eight."""
    exact = Phi4((4, 8)).exact(MASSIVE)
    assert exact is not None and exact.width == 4
    answers = exact.observables()
    assert np.isnan(answers["energy_gap"]) and "energy_gap_bound" not in answers
    assert answers["log_z"] == pytest.approx(
        2 * StripSolution(Phi4((4, 4)), MASSIVE).log_z, abs=0.2
    )
    assert np.isfinite([answers[name] for name in ("log_z", "phi2", "abs_magnetization")]).all()


def test_what_is_too_dear_is_refused():
    with pytest.raises(LatticeFlowsError, match=r"would take .* seconds and .* GB"):
        StripSolution(Phi4((16, 16)), MASSIVE)
    with pytest.raises(LatticeFlowsError, match="no narrower ones"):
        StripSolution(Phi4((4, 3)), MASSIVE, nodes=5, corrected=True)
    with pytest.raises(LatticeFlowsError, match="two dimensions"):
        StripSolution(Phi4((4, 4, 4)), MASSIVE)
    with pytest.raises(LatticeFlowsError, match="lam must be greater than 0"):
        StripSolution(Phi4((4, 4)), Phi4Couplings(lam=-1.0))
    with pytest.raises(LatticeFlowsError, match="one set of couplings"):
        StripSolution(Phi4((4, 4)), Phi4Couplings(m=np.array([0.1, 0.2])))
    with pytest.raises(LatticeFlowsError, match="sides of 1024 sites"):
        StripSolution(Phi4((4000, 4)), MASSIVE)


def test_the_cost_is_told_before():
    small, large = cost(6, 6, 8, False), cost(8, 8, 8, False)
    assert small.seconds < 10 < large.seconds < 600
    assert small.gigabytes < 0.1 < large.gigabytes < 4
