"""Hamiltonian Monte Carlo against exact answers, and the laws that its trajectories keep."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.mcmc.integrators import new_integrator_state, velocity_verlet
from blackjax.mcmc.metrics import default_metric

from lattice_flows import hmc
from lattice_flows.mcmc.hmc import Whitened, hmc_grid
from observables import measure
from observables.chains import measure_chains
from observables.orbit import actions
from theories import FreeField, ManyWell, Phi4, TransferMatrix
from theories.errors import LatticeFlowsError


def test_chains_of_phi4_agree_with_the_transfer_matrix():
    """Both signs as they were drawn: the wells are weighted by the moves, not by the average.

    At the last couplings a cluster that is flipped must be accepted by what is odd in S. With
    another key this would fail once in 80 times (27 comparisons at 3.5σ).
    """
    theory = Phi4((16,))
    grid = [theory.from_values(m=m, alpha=0.01) for m in (0.25, 0.75)]
    grid.append(theory.from_values(m=0.1, lam=0.5, alpha=0.3))
    for ensemble in hmc_grid(theory, grid, jax.random.key(1), chains=32, draws=200):
        assert 0.7 < ensemble.provenance["acceptance"] < 0.9
        measured = measure(
            theory, ensemble.couplings, ensemble.configurations, chains=32, orbit=False
        )
        assert measured.reliable
        exact = TransferMatrix(theory, ensemble.couplings).observables()
        for name, (value, stderr) in measured.observables.items():
            assert abs(value - exact[name]) < 3.5 * stderr, (ensemble.couplings, name)
        assert measured.observables["abs_magnetization"].stderr < 0.01
        # averaged over the signs the wells are told apart better still
        averaged = ensemble.measure().observables["positive_mode_weight"]
        assert averaged.stderr < measured.observables["positive_mode_weight"].stderr


def test_a_free_field_in_two_dimensions():
    """Its propagator at all distances: 20 comparisons at 3.5σ, once in 100 keys beyond."""
    theory = FreeField((4, 5))
    ensemble = hmc(theory, theory.from_values(), jax.random.key(2), 32, 100)
    phi = ensemble.configurations
    products = [
        (phi * np.roll(phi, shift, (1, 2))).mean(axis=(1, 2))
        for shift in itertools.product(range(4), range(5))
    ]
    names = [str(i) for i in range(20)]
    found, mixing = measure_chains(lambda a: a, np.stack(products, axis=1), 32, names)
    values, errors = np.array(found).T
    exact = theory.propagator(ensemble.couplings).reshape(-1)
    assert np.all(np.abs(values - exact) < 3.5 * errors)
    # where P is the covariance every mode swings at the rate 1, and hardly remembers anything
    assert mixing.tau_int < 1


def test_phi4_in_two_dimensions_by_quadrature():
    """On 2 x 2 sites, broken by α. Once in 500 keys one of the four is beyond 3.5σ."""
    theory = Phi4((2, 2))
    couplings = theory.from_values(m=0.8, lam=0.2, alpha=0.4)
    line = np.linspace(-3.6, 3.6, 25)
    phi = np.stack(np.meshgrid(*[line] * 4, indexing="ij"), axis=-1).reshape(-1, 2, 2)
    p = np.exp(-actions(theory, couplings, phi))
    p /= p.sum()
    m = phi.mean(axis=(1, 2))
    exact = {
        "magnetization": p @ m,
        "phi2": p @ (phi**2).mean(axis=(1, 2)),
        "phi4": p @ (phi**4).mean(axis=(1, 2)),
        "action_density": p @ actions(theory, couplings, phi) / 4,
    }
    drawn = hmc(theory, couplings, jax.random.key(3), 32, 150)
    measured = measure(theory, couplings, drawn.configurations, chains=32, orbit=False)
    for name, value in exact.items():
        estimate = measured.observables[name]
        assert abs(estimate.value - value) < 3.5 * estimate.stderr, name


def test_the_masses_of_a_free_field_are_its_covariance(rng):
    theory = FreeField((3, 4))
    couplings = theory.from_values(mass_squared=0.6)
    white = Whitened(theory, couplings)
    origin = jnp.zeros((3, 4)).at[0, 0].set(1)
    covariance = white.field(white.field(origin))
    np.testing.assert_allclose(covariance, theory.propagator(couplings), rtol=1e-12)
    phi = rng.normal(size=(3, 4))
    np.testing.assert_allclose(white.field(white.white(phi)), phi, rtol=1e-12)


@pytest.fixture(scope="module")
def leapfrog():
    """Position and momentum along a trajectory of some steps of a size, and the energy there."""
    theory = Phi4((4, 4))
    white = Whitened(theory, theory.from_values(m=0.7))
    metric = default_metric(jnp.ones(16))
    step_once = velocity_verlet(white.log_density, metric.kinetic_energy)

    @jax.jit
    def run(z, momentum, step, count):
        state = new_integrator_state(white.log_density, z, momentum)
        state = jax.lax.fori_loop(0, count, lambda _, state: step_once(state, step), state)
        energy = -state.logdensity + metric.kinetic_energy(state.momentum)
        return state.position, state.momentum, energy

    return run


def test_trajectories_are_reversible_and_keep_energy_to_second_order(leapfrog, rng):
    z, momentum = (jnp.asarray(rng.normal(size=(4, 4))) for _ in range(2))
    start = leapfrog(z, momentum, 0.1, 0)[2]
    errors = []
    for halving in (1, 2, 4):
        there = leapfrog(z, momentum, 0.2 / halving, 6 * halving)
        errors.append(abs(float(there[2] - start)))
        back = leapfrog(there[0], -there[1], 0.2 / halving, 6 * halving)
        np.testing.assert_allclose(back[0], z, atol=1e-12)
        np.testing.assert_allclose(-back[1], momentum, atol=1e-12)
    ratios = np.array(errors[:-1]) / errors[1:]
    assert np.all(np.abs(ratios - 4) < 0.4), ratios


def test_the_same_key_gives_the_same_draws_and_another_does_not():
    theory = Phi4((4,))
    couplings = theory.from_values()

    def drawn(key):
        return hmc(theory, couplings, jax.random.key(key), 4, 5, warm_up=3, every=1)

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert first.configurations.shape == (20, 4) and first.chains == 4
    assert first.configurations.tobytes() == again.configurations.tobytes()
    assert not np.any(first.configurations == other.configurations)
    assert first.provenance["precision"] == "float64"
    # chain by chain: within a chain neighbours are alike
    phi = first.configurations.reshape(4, 5, 4)
    assert np.all(np.var(phi[:, :, 0], axis=1) > 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("theory", "counts", "message"),
    [
        (ManyWell((2,)), {}, "give a lattice theory"),
        (Phi4((4,)), {"chains": 0}, "chains = 0"),
        (Phi4((4,)), {"draws": 0.5}, r"draws = 0\.5"),
        (Phi4((4,)), {"warm_up": -1}, "warm_up = -1"),
    ],
)
def test_what_it_cannot_do_is_refused(theory, counts, message):
    with pytest.raises(LatticeFlowsError, match=message):
        hmc(theory, theory.from_values(), jax.random.key(0), **counts)


def test_couplings_that_do_not_fit_are_refused():
    theory = Phi4((4,))
    with pytest.raises(LatticeFlowsError, match="lam must be greater"):
        hmc(theory, theory.from_values(lam=-1), jax.random.key(0))
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(LatticeFlowsError, match="range of float32"):
            hmc(theory, theory.from_values(lam=1e300), jax.random.key(0))
    finally:
        jax.config.update("jax_enable_x64", True)
