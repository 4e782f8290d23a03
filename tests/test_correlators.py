"""Correlators and gaps: against the transfer matrix, closed forms and repeated experiments."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import call, refused
from hypothesis import given
from hypothesis import strategies as st

import observables
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.io.netcdf import read_dataset
from observables.correlators import _samples, _values
from theories import DoubleWell, FreeField, LatticeFlowsError, Phi4, TransferMatrix, TwoGaussians


@given(st.floats(0.01, 2.0), st.integers(4, 33), st.floats(0.1, 10.0), st.floats(-2.0, 2.0))
def test_two_states_alone_have_their_gap_at_every_distance(gap, length, size, mean):
    r = np.arange(length // 2 + 1)
    connected = size * np.cosh(gap * (length / 2 - r)) / np.cosh(gap * length / 2)
    found = _values(np.append(connected + mean**2, mean), length)
    np.testing.assert_allclose(found[: len(r)], connected, rtol=1e-6, atol=1e-9 * mean**2)
    # 1 + Δ²/2 is what is inverted: small gaps lose digits, more where a mean was subtracted
    lost = 1e-12 * (1 + mean**2 / connected.min())
    np.testing.assert_allclose(np.cosh(found[len(r) :]), np.cosh(gap), atol=1e3 * lost, rtol=1e-9)


@pytest.mark.parametrize("length", [6, 7])
def test_products_are_those_of_a_double_loop(length):
    phi = np.random.default_rng(0).normal(1, 1, (5, length))
    expected = [
        [np.mean([x[t] * x[(t + r) % length] for t in range(length)]) for x in phi]
        for r in range(length // 2 + 1)
    ]
    np.testing.assert_allclose(_samples(phi)[:, :-1], np.transpose(expected), rtol=1e-12)
    np.testing.assert_allclose(_samples(phi)[:, -1], phi.mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize(("shape", "directions"), [((4, 6), (0,)), ((4, 4), (0, 1))])
def test_slices_lie_across_directions_of_the_first_length(shape, directions):
    phi = np.random.default_rng(1).normal(0, 1, (3, *shape))
    expected = np.zeros((3, 3))
    for direction in directions:
        slices = phi.mean(axis=2 - direction)
        for r in range(3):
            expected[:, r] += (slices * np.roll(slices, -r, axis=1)).mean(axis=1)
    np.testing.assert_allclose(_samples(phi)[:, :-1], expected / len(directions), rtol=1e-12)


def test_free_field_has_its_propagator_and_one_gap_at_every_distance():
    """The inverse of the matrix of the quadratic action; a single mass, so Δ(r) is flat."""
    theory = FreeField((10,))
    couplings = theory.from_values(mass_squared=0.7)
    matrix = np.asarray(jax.hessian(lambda x: theory.action(x, couplings))(jnp.zeros(10)))
    propagator = np.linalg.inv(matrix)[0]
    gap = np.arccosh((propagator[0] + propagator[2]) / (2 * propagator[1]))
    exact = TransferMatrix(theory, couplings)
    found = observables.correlator(theory, exact.sample(np.random.default_rng(3), 20_000))
    # 11 correlated pulls beyond 4: false-alarm rate below 7e-4
    assert np.all(np.abs(found.value - propagator[:6]) < 4 * found.stderr)
    assert np.all(np.abs(found.gap - gap) < 4 * found.gap_stderr)


@pytest.mark.parametrize(
    ("theory", "values"),
    [
        (DoubleWell((12,)), {"mass": 1.5, "mu": 1.5, "period": 3.0}),
        (Phi4((9,)), {"m": 0.3, "alpha": 0.2}),
    ],
    ids=["double-well", "phi4"],
)
def test_errors_are_honest_and_values_exact(theory, values):
    """40 experiments of exact draws: the pulls of C and of the gap have mean 0 and spread 1.

    The spread of 40 normal numbers is within 0.65 and 1.4 but for one case in 1000, their mean
    within 0.55; some 20 correlated numbers each: false-alarm rate below 2 %, seed fixed.
    """
    couplings = theory.from_values(**values)
    exact = TransferMatrix(theory, couplings)
    known = observables.exact_correlator(exact)
    rng = np.random.default_rng(5)
    pulls, gaps = [], []
    for _ in range(40):
        found = observables.correlator(theory, exact.sample(rng, 2000))
        pulls.append((found.value - known.value) / found.stderr)
        gaps.append((found.gap - known.gap) / found.gap_stderr)
    for many in (np.array(pulls), np.array(gaps)[:, :3]):
        assert np.abs(many.mean(axis=0)).max() < 0.55
        assert many.std(axis=0).min() > 0.65 and many.std(axis=0).max() < 1.4


def test_weights_are_used():
    """Draws of one coupling, weighted to another, have the correlator of that."""
    theory = Phi4((8,))
    here, there = theory.from_values(m=0.3), theory.from_values(m=0.35)
    phi = TransferMatrix(theory, here).sample(np.random.default_rng(7), 20_000)
    log_weights = 0.05 * (phi**2).sum(axis=1)
    known = observables.exact_correlator(TransferMatrix(theory, there))
    found = observables.correlator(theory, phi, log_weights)
    assert np.all(np.abs(found.value - known.value) < 4 * found.stderr)
    plain = observables.correlator(theory, phi)
    assert np.all(np.abs(plain.value - known.value) > 4 * plain.stderr)


def test_long_chains_approach_the_gap_of_the_transfer_matrix():
    theory = DoubleWell((128,))
    exact = TransferMatrix(theory, theory.from_values(mass=1.5, mu=1.5, period=32.0))
    assert observables.exact_correlator(exact).gap[-1] == pytest.approx(exact.energy_gap, rel=1e-6)


@pytest.mark.parametrize("chains", [1, 2, 64])
def test_draws_of_chains_count_as_often_as_they_are_new(chains):
    """Each draw ten times over, by the Γ-method: the errors of the draws themselves."""
    theory = Phi4((8,))
    couplings = theory.from_values(m=0.3)
    phi = TransferMatrix(theory, couplings).sample(np.random.default_rng(9), 3200)
    alone = observables.correlator(theory, phi)
    repeated = observables.correlator(theory, np.repeat(phi, 10, axis=0), chains=chains)
    np.testing.assert_allclose(repeated.stderr, alone.stderr, rtol=0.25)
    np.testing.assert_allclose(repeated.gap_stderr, alone.gap_stderr, rtol=0.25)
    np.testing.assert_allclose(repeated.value, alone.value, atol=0.1 * alone.stderr.min())


def test_noise_leaves_no_gap():
    theory = Phi4((8,))
    white = observables.correlator(theory, np.random.default_rng(0).normal(0, 1, (50, 8)))
    assert np.isnan(white.gap).any()
    assert np.all(np.isinf(white.gap_stderr) == np.isnan(white.gap))
    with pytest.raises(LatticeFlowsError, match="4 sites or more"):
        observables.correlator(Phi4((3,)), np.zeros((9, 3)))


@pytest.fixture
def ensemble(tmp_path):
    theory = DoubleWell((8,))
    couplings = theory.from_values(mass=1.5, mu=1.5)
    phi = TransferMatrix(theory, couplings).sample(np.random.default_rng(2), 4000)
    made = Ensemble(theory, couplings, phi, np.zeros(4000))
    made.save(tmp_path / "ensemble.nc")
    return made


def test_command_shows_what_it_writes(ensemble, tmp_path):
    path, out = tmp_path / "ensemble.nc", tmp_path / "correlator.nc"
    done = call("correlator", path, "--json", "-o", out)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    dataset = read_dataset(out, "correlator")
    found = ensemble.correlator()
    np.testing.assert_array_equal(result["correlator"]["value"], found.value)
    np.testing.assert_array_equal(dataset["correlator"], found.value)
    np.testing.assert_array_equal(dataset["gap"][1:], found.gap)
    np.testing.assert_array_equal(result["gap"]["value"][1:], found.gap)
    assert result["gap"]["value"][0] is None and np.isnan(dataset["gap"][0])
    exact = TransferMatrix(ensemble.theory, ensemble.couplings)
    assert result["exact"]["energy_gap"] == exact.energy_gap == dataset["energy_gap"]
    text = call("correlator", path).stdout
    assert "distance" in text and f"{exact.energy_gap:.6g}" in text
    assert "--overwrite" in refused("correlator", path, "-o", out)


def test_command_flags_poor_weights_and_refuses_what_is_no_lattice(ensemble, tmp_path):
    poor = np.zeros(4000)
    poor[0] = 30
    Ensemble(ensemble.theory, ensemble.couplings, ensemble.configurations, poor).save(
        tmp_path / "poor.nc"
    )
    done = call("correlator", tmp_path / "poor.nc", "--json")
    assert done.exit_code == 3 and "unreliable" in done.stderr
    assert json.loads(done.stdout)["correlator"]["stderr"][0] is None
    stuck = np.repeat(ensemble.configurations[:4], 1000, axis=0)  # four chains that do not move
    Ensemble(ensemble.theory, ensemble.couplings, stuck, chains=4).save(tmp_path / "stuck.nc")
    done = call("correlator", tmp_path / "stuck.nc")
    assert done.exit_code == 3 and "unreliable" in done.stderr
    plane = TwoGaussians()
    draws = np.random.default_rng(0).normal(0, 1, (10, 2))
    Ensemble(plane, plane.from_values(), draws).save(tmp_path / "plane.nc")
    assert "not on a lattice" in refused("correlator", tmp_path / "plane.nc")
