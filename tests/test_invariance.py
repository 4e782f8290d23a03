"""The move-invariance check, against flows whose density is known: exact draws and wrong ones."""

import dataclasses

import numpy as np
import pytest

from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.invariance import Mover, check_invariance, checked
from lattice_flows.papers.gate_kinds import gaussian
from observables import Measurement, quantities
from observables.invariance import paired_change, resample
from observables.orbit import actions
from theories import DoubleWell, Phi4
from theories.transfer_matrix import TransferMatrix

CHAIN = Phi4((6,))
AT = CHAIN.from_values(m=0.5)


def reweighted(m: float, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact draws at `m` with the weights that carry them to m = .5, of an odd flow."""
    there = CHAIN.from_values(m=m)
    exact = TransferMatrix(CHAIN, there)
    phi = exact.sample(np.random.default_rng(seed), draws)

    def log_even(couplings):
        return np.logaddexp(*(-actions(CHAIN, couplings, sign * phi) for sign in (1, -1)))

    return phi, log_even(AT) - log_even(there) + exact.log_z


def verdict(phi, log_weights, orbit=True, draws=1024):
    found = check_invariance(CHAIN, AT, phi, log_weights, orbit=orbit, draws=draws)
    assert found is not None
    return found


@pytest.mark.parametrize("m", [0.5, 0.4])
def test_right_draws_pass(m):
    # 24 ensembles; at a false-alarm rate of 1 % four alarms or more have a chance of 1e-4
    phi, log_weights = reweighted(m, 24 * 1024, 0)
    parts = zip(np.split(phi, 24), np.split(log_weights, 24), strict=True)
    assert sum(not verdict(*part).passed for part in parts) < 4


def test_a_lost_well_is_seen():
    phi, log_weights = reweighted(0.5, 8192, 1)
    right = phi.mean(axis=1) > 0
    lost = phi[right], log_weights[right] + np.log(right.mean())
    found = verdict(*lost, orbit=False)
    assert not found.passed
    assert found.statistic > 20 * found.threshold


def test_missing_domain_walls_are_seen():
    phi, log_weights = reweighted(0.5, 8192, 2)
    aligned = np.abs(np.sign(phi).sum(axis=1)) == 6
    assert 0.9 < aligned.mean() < 0.99
    assert not verdict(phi[aligned], log_weights[aligned], draws=4096).passed


@pytest.mark.parametrize(
    ("variances", "seen"), [([0.2, 1.0], 5), ([0.4] * 4, 3)], ids=["one mode", "four modes"]
)
def test_narrow_proposals_that_the_weights_let_pass_are_seen(variances, seen):
    """Gaussians for a free field whose weights have no variance; the power is 1 and about ¾."""
    kind = gaussian("narrow", variances)
    caught = 0
    for seed in range(12):
        phi, log_weights = kind.draw(4096, seed)
        ensemble = Ensemble(kind.theory, kind.couplings, phi, log_weights)
        measurement = ensemble.measure()
        caught += measurement.reliable and not checked(ensemble, measurement).reliable
    assert caught >= seen


@pytest.mark.parametrize(
    ("theory", "couplings"),
    [(CHAIN, AT), (DoubleWell((8,)), DoubleWell((8,)).from_values(tilt=0.3))],
    ids=["phi4", "double-well"],
)
def test_moves_preserve_exact_draws(theory, couplings):
    """Exact draws have the exact averages after 20 moves; each within 4.5 σ (7e-6 a number)."""
    exact = TransferMatrix(theory, couplings)
    rng = np.random.default_rng(4)
    mover = Mover(theory, couplings, rng)
    phi = exact.sample(rng, 8192)
    for _ in range(20):
        phi = mover.move(phi)
    measured = quantities(theory).samples(couplings, phi, False)
    answers = exact.observables()
    named = {0: "magnetization", 1: "abs_magnetization", 4: "phi2", 6: "action_density"}
    for column, name in named.items():
        found = measured[:, column]
        error = found.std() / np.sqrt(len(found))
        assert abs(found.mean() - float(answers[name])) < 4.5 * error


def test_moves_reach_the_target_from_elsewhere():
    """From all-plus cold draws, the exact averages after 150 moves (three σ-tests at 4.5 σ)."""
    rng = np.random.default_rng(5)
    mover = Mover(CHAIN, AT, rng)
    assert 0.1 < mover.step < 2
    phi = np.full((2048, 6), 1.0)
    for _ in range(150):
        phi = mover.move(phi)
    measured = quantities(CHAIN).samples(AT, phi, False)
    answers = TransferMatrix(CHAIN, AT).observables()
    for column, name in {0: "magnetization", 1: "abs_magnetization", 4: "phi2"}.items():
        found = measured[:, column]
        assert abs(found.mean() - float(answers[name])) < 4.5 * found.std() / np.sqrt(2048)


def test_resampling_is_in_proportion_to_weight():
    log_weights = np.log([1.0, 2.0, 5.0, 8.0]) + 300
    counts = np.mean(
        [np.bincount(resample(log_weights, 8, s), minlength=4) for s in np.linspace(0, 0.99, 100)],
        axis=0,
    )
    np.testing.assert_allclose(counts, np.array([1, 2, 5, 8]) / 2, atol=0.02)


def test_copies_of_a_draw_are_not_independent():
    """Doubling every draw must not make the change look better known."""
    rng = np.random.default_rng(6)
    before, after = rng.standard_normal((2, 500, 3))
    once = paired_change(before, after, np.arange(500))
    copies = np.repeat(np.arange(500), 2)
    twice = paired_change(before[copies], after[copies], copies)
    assert once is not None and twice is not None
    np.testing.assert_allclose(twice[:2], once[:2])


def test_too_few_draws_give_no_verdict():
    rng = np.random.default_rng(7)
    before, after = rng.standard_normal((2, 10, 8))
    assert paired_change(before, after, np.arange(10)) is None
    phi, log_weights = reweighted(0.5, 64, 7)
    log_weights[0] += 50
    assert check_invariance(CHAIN, AT, phi, log_weights) is None


def test_what_cannot_be_tested_has_not_passed(monkeypatch):
    """Moves that move nothing, and weights that pass."""
    phi, log_weights = reweighted(0.5, 512, 8)
    ensemble = Ensemble(CHAIN, AT, phi, log_weights)
    assert ensemble.measure().reliable
    monkeypatch.setattr(Mover, "move", lambda self, phi: phi)
    found = checked(ensemble, ensemble.measure())
    assert found.failed == ("invariance",) and found.invariance is None


def test_the_verdict_is_in_the_measurement_and_its_own():
    phi, log_weights = reweighted(0.5, 4096, 8)
    aligned = np.abs(np.sign(phi).sum(axis=1)) == 6
    bad = Ensemble(CHAIN, AT, phi[aligned], log_weights[aligned])
    measurement = checked(bad, bad.measure())
    assert measurement.failed == ("invariance",)
    record = measurement.as_json()["invariance"]
    assert record["statistic"] > record["threshold"]
    assert checked(bad, bad.measure()) == measurement  # the same draws, the same verdict
    unweighted = dataclasses.replace(bad, log_weights=None)
    assert isinstance(checked(unweighted, unweighted.measure()), Measurement)
    assert checked(unweighted, unweighted.measure()).invariance is None


@pytest.mark.slow
@pytest.mark.parametrize("m", [0.5, 0.4])
def test_the_false_alarm_rate_is_one_in_a_hundred(m):
    """400 ensembles of 2048 right draws: 9 alarms or more have a chance of 2 % at a rate of 1 %."""
    phi, log_weights = reweighted(m, 400 * 2048, 20)
    parts = zip(np.split(phi, 400), np.split(log_weights, 400), strict=True)
    found = [check_invariance(CHAIN, AT, *part) for part in parts]
    assert sum(not each.passed for each in found if each is not None) < 9
