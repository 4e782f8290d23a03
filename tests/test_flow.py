"""The flow: its map and its density, against closed forms, Jacobians and exact partition sums."""

from __future__ import annotations

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import White, double, random_params

from lattice_flows.flows.base import Gaussian, Ultralocal
from lattice_flows.flows.fields import Field, hollow
from lattice_flows.flows.fields.backbone import backbone
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.params import Params
from theories import FreeField, Phi4, TransferMatrix


def linear(matrix: np.ndarray) -> Field:
    """V = Aφ on a chain."""

    def apply(params, t, phi, couplings):
        return params @ phi, jnp.trace(params)

    return Field(lambda key: jnp.asarray(matrix), apply, odd=True)


# closed forms


def test_a_linear_field_is_the_matrix_exponential(rng):
    """The map is e^A, log q falls by tr A, and the error with the fifth power of the step."""
    theory = Phi4((4,))
    matrix = rng.normal(size=(4, 4))
    phi = rng.normal(size=(3, 4))
    exact = phi @ scipy.linalg.expm(matrix).T
    errors = []
    for steps in (8, 32):
        flow = Flow(Ultralocal(theory), linear(matrix), steps)
        transport = jax.jit(flow.integrate)
        end, change = transport(Params((), jnp.asarray(matrix)), jnp.asarray(phi), ())
        np.testing.assert_allclose(change, -np.trace(matrix), rtol=0, atol=1e-13)
        errors.append(np.linalg.norm(end - exact))
    order = np.log2(errors[0] / errors[1]) / 2
    assert errors[-1] < 1e-7 and 4.5 < order < 6, (errors, order)
    back, change = transport(Params((), jnp.asarray(matrix)), end, (), start=1.0, end=0.0)
    np.testing.assert_allclose(back, phi, rtol=0, atol=10 * errors[-1])
    np.testing.assert_allclose(change, np.trace(matrix), rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(6,), (3, 4)])
def test_the_backbone_carries_white_noise_to_the_free_field(shape, key):
    """With a = M² and b = 0 it solves the linear path between the two Gaussians: q is p exactly."""
    theory, a = FreeField(shape), 0.7
    couplings = double(theory.from_values(mass_squared=a))
    transformed = hk.without_apply_rng(
        hk.transform(lambda t, phi, c: backbone(theory, t, phi, c, jnp.zeros(1)))
    )
    # a = 6·scale·softplus(bias₀) with scale = 0.1 where there is no quartic term
    bias = jnp.asarray([np.log(np.expm1(a / 0.6)), 0.0])
    params = Params((), {"backbone": {"w": jnp.zeros((1, 2)), "b": bias}})
    flow = Flow(White(theory, a), Field(lambda key: params.field, transformed.apply, odd=True), 32)
    phi, log_q = flow.sample(params, key, couplings, 20)
    actions = jax.vmap(lambda x: theory.action(x, couplings))(phi)
    exact = -actions - theory.log_z(theory.from_values(mass_squared=a))
    np.testing.assert_allclose(log_q, exact, rtol=0, atol=1e-6)
    assert np.std(exact) > 0.5  # it is not the same everywhere


# a field without a closed form: its parameters are noise, and it changes log q by 0.5 unevenly

N = 1024


@pytest.fixture(scope="module")
def theory():
    return Phi4((4,))


@pytest.fixture(scope="module")
def exact(theory):
    return TransferMatrix(theory, theory.from_values(m=-0.3, alpha=0.0))


@pytest.fixture(scope="module")
def couplings(exact):
    return double(exact.couplings)


@pytest.fixture(scope="module")
def flow(theory):
    return Flow(Gaussian(theory), hollow(theory, {}, width=5), 16)


@pytest.fixture(scope="module")
def params(flow):
    return Params((), random_params(flow.field, 1.2, seed=117))


@pytest.fixture(scope="module")
def sample(flow):
    return jax.jit(flow.sample, static_argnums=3)


@pytest.fixture(scope="module")
def drawn(sample, params, couplings):
    return sample(params, jax.random.key(1), couplings, N)


@pytest.fixture(scope="module")
def log_prob(flow):
    return jax.jit(flow.log_prob)


@pytest.fixture(scope="module")
def transport(flow):
    return jax.jit(flow.integrate)


@pytest.fixture(scope="module")
def started(flow, couplings):
    """The base draws of the same key, and their log q₀."""
    keys = jax.random.split(jax.random.key(1), N)
    start = jax.vmap(lambda k: flow.base.sample((), k, couplings))(keys)
    return start, jax.vmap(lambda x: flow.base.log_prob((), x, couplings))(start)


def log_p(theory, exact, couplings, phi):
    return -jax.vmap(lambda x: theory.action(x, couplings))(phi) - exact.log_z


def test_the_flow_is_not_trivial(drawn, started):
    """What the next tests lean on."""
    assert np.std(drawn[0] - started[0]) > 0.1
    assert np.std(drawn[1] - started[1]) > 0.3


def test_log_q_is_the_same_forwards_and_backwards(drawn, params, couplings, log_prob):
    phi, log_q = drawn
    np.testing.assert_allclose(log_prob(params, phi, couplings), log_q, rtol=0, atol=2e-6)


def test_there_and_back(transport, params, drawn, started, couplings):
    phi, log_q = drawn
    start, there = transport(params, phi, couplings, start=1.0, end=0.0)
    np.testing.assert_allclose(start, started[0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(there, started[1] - log_q, rtol=0, atol=2e-6)
    end, back = transport(params, start, couplings, start=0.0, end=1.0)
    np.testing.assert_allclose(end, phi, rtol=0, atol=2e-6)
    np.testing.assert_allclose(back, -there, rtol=0, atol=2e-6)


def test_log_q_is_the_jacobian_of_the_map(transport, params, drawn, started, couplings):
    """log q = log q₀ - log |det ∂φ(1)/∂φ(0)|: a wrong divergence fails, a round trip would not.

    The Jacobian by central differences of 1e-4, for 256 of the draws.
    """
    nudges = 1e-4 * jnp.concatenate([jnp.eye(4), -jnp.eye(4)])
    nudged = (started[0][: N // 8, None, :] + nudges[None]).reshape(N, 4)
    moved = transport(params, nudged, couplings, start=0.0, end=1.0)[0].reshape(-1, 2, 4, 4)
    _, log_det = np.linalg.slogdet((moved[:, 0] - moved[:, 1]) / 2e-4)
    change = (drawn[1] - started[1])[: N // 8]
    np.testing.assert_allclose(change, -log_det, rtol=0, atol=5e-6)
    assert np.ptp(change) > 1


def test_log_q_is_even(drawn, params, couplings, log_prob):
    phi, _ = drawn
    one, other = (log_prob(params, x, couplings) for x in (phi, -phi))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-11)


def test_the_mean_weight_is_the_partition_function(theory, exact, couplings, drawn):
    """E_q[e^{-S}/q] = Z: q is normalised. Fails by chance once in 15,000 seeds."""
    phi, log_q = drawn
    w = np.exp(log_p(theory, exact, couplings, phi) - log_q)
    error = np.std(w) / np.sqrt(N)
    assert error < 0.025
    assert abs(np.mean(w) - 1) < 4 * error


def test_the_density_integrates_to_one_over_exact_samples(
    theory, exact, couplings, params, log_prob, rng
):
    """E_p[q/p] = 1, from independent exact samples. Fails by chance once in 15,000 seeds."""
    phi = jnp.asarray(exact.sample(rng, 8 * N))
    log_q = log_prob(params, phi, couplings)
    ratio = np.exp(log_q - log_p(theory, exact, couplings, phi))
    error = np.std(ratio) / np.sqrt(len(phi))
    assert error < 0.025
    assert abs(np.mean(ratio) - 1) < 4 * error


def test_trajectories_pass_through_the_flow(flow, transport, params, drawn, started, couplings):
    """At the end they are the draws of the same key; in between, what a shorter solve gives."""
    times = np.array([0.0, 0.3, 1.0])
    trajectory = jax.jit(lambda p, k, c: flow.trajectory(p, k, c, N, times))
    path, log_q = trajectory(params, jax.random.key(1), couplings)
    assert path.shape == (3, N, 4) and log_q.shape == (3, N)
    middle, change = transport(params, started[0], couplings, start=0.0, end=0.3)
    for i, (phi, expected, tolerance) in enumerate(
        [(*started, 1e-12), (middle, started[1] + change, 1e-5), (*drawn, 1e-6)]
    ):
        np.testing.assert_allclose(path[i], phi, rtol=0, atol=tolerance)
        np.testing.assert_allclose(log_q[i], expected, rtol=0, atol=tolerance)


def test_draws_are_those_of_their_key(sample, params, drawn, couplings):
    again = sample(params, jax.random.key(1), couplings, N)
    for one, other in zip(again, drawn, strict=True):
        np.testing.assert_array_equal(one, other)
    others, _ = sample(params, jax.random.key(2), couplings, N)
    both = np.concatenate([others, drawn[0]])
    assert len(np.unique(both)) == both.size  # no two of them are alike


def test_a_field_in_float32_carries_densities_in_float64(log_prob, params, drawn, couplings):
    phi, log_q = drawn
    single = params._replace(field=jax.tree.map(lambda x: x.astype(jnp.float32), params.field))
    rounded = log_prob(single, phi, couplings)
    assert rounded.dtype == jnp.float64
    assert 2e-7 < np.abs(rounded - log_q).max() < 1e-4


def test_the_gaussian_base_is_the_free_field(key):
    """Without any flow: a base that is exact for its theory, in two dimensions."""
    theory = FreeField((3, 4))
    couplings = double(theory.from_values(mass_squared=0.4))
    base = Gaussian(theory)
    phi = base.sample((), key, couplings)
    exact = -theory.action(phi, couplings) - theory.log_z(theory.from_values(mass_squared=0.4))
    np.testing.assert_allclose(base.log_prob((), phi, couplings), exact, rtol=1e-12)
