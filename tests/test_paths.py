"""Interpolations: they join base and target, and keep the symmetries they promise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import double

from lattice_flows.flows.base import Tilted, Ultralocal
from lattice_flows.flows.model import build
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import PATHS, LinearPath
from lattice_flows.flows.symmetry import symmetric_action
from lattice_flows.runs.config import Config
from theories import DoubleWell, Phi4

NAMES = ["linear", "learned", "coupling"]


def made(name: str, theory=None, even=True):
    """A path, parameters of order one, couplings with odd ones among them."""
    theory = Phi4((3,)) if theory is None else theory
    path = PATHS[name](Ultralocal(theory, 0.5), even, {}, 8)
    rng = np.random.default_rng(4)
    shapes = jax.eval_shape(path.init, jax.random.key(0))
    learned = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.7, x.shape)), shapes)
    odd = {name: 0.3 for name in theory.z2_odd}
    return path, Params((), path=learned), double(theory.from_values(**odd))


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("theory", [Phi4((3,)), DoubleWell((2,))], ids=lambda t: t.name)
@pytest.mark.parametrize("name", NAMES)
def test_a_path_joins_base_and_target(name, theory, even, rng):
    path, params, couplings = made(name, theory, even)
    for _ in range(3):
        phi = jnp.asarray(rng.normal(0, 1.5, theory.shape))
        start, end = (path.energy(params, jnp.float64(t), phi, couplings) for t in (0, 1))
        target = symmetric_action(theory, phi, couplings) if even else theory.action(phi, couplings)
        assert start == pytest.approx(float(path.base.energy((), phi, couplings)), rel=1e-12)
        assert end == pytest.approx(float(target), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_is_the_slope_in_time(name, rng):
    path, params, couplings = made(name)
    phi, step = jnp.asarray(rng.normal(size=3)), 1e-5
    for t in (0.1, 0.6):
        up, down = (path.energy(params, jnp.float64(t + s), phi, couplings) for s in (step, -step))
        rate = path.rate(params, jnp.float64(t), phi, couplings)
        assert rate == pytest.approx(float(up - down) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_an_even_path_is_even_and_the_same_everywhere_on_the_lattice(name, rng):
    path, params, couplings = made(name)
    phi, t = jnp.asarray(rng.normal(size=3)), jnp.float64(0.4)
    energy = path.energy(params, t, phi, couplings)
    for moved in (-phi, jnp.roll(phi, 1), phi[::-1]):
        there = path.energy(params, t, moved, couplings)
        assert there == pytest.approx(float(energy), rel=1e-12)
    assert path.energy(params, t, phi + 0.1, couplings) != pytest.approx(float(energy), rel=1e-4)


def test_the_tilted_path_keeps_the_weights_of_the_wells(rng):
    """p_t(φ)/p_t(-φ) is that of the target at all times; the base is normalised and drawn right.

    The draws' share of M > 0 lies within 4.5 standard errors of quadrature: one false alarm in
    150,000.
    """
    theory = Phi4((2,))
    couplings = double(theory.from_values(m=0.6, alpha=0.3))
    base = Tilted(theory, Ultralocal(theory, 0.5))
    path = LinearPath(base, even=False)
    phi = jnp.asarray(rng.normal(0, 1.5, 2))
    prefers = theory.action(-phi, couplings) - theory.action(phi, couplings)
    for t in (0.0, 0.3, 1.0):
        plus, minus = (path.energy(Params(()), jnp.float64(t), s * phi, couplings) for s in (1, -1))
        assert minus - plus == pytest.approx(float(prefers), rel=1e-12)
    axis = np.linspace(-7, 7, 281)
    nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log_prob = jax.jit(jax.vmap(lambda x: base.log_prob((), x, couplings)))
    density = np.exp(np.asarray(log_prob(jnp.asarray(nodes)))) * (axis[1] - axis[0]) ** 2
    assert density.sum() == pytest.approx(1, abs=1e-9)
    share = density @ np.heaviside(nodes.sum(axis=1), 0.5)
    keys = jax.random.split(jax.random.key(3), 20_000)
    draws = np.asarray(jax.jit(jax.vmap(lambda k: base.sample((), k, couplings)))(keys))
    assert abs(share - 0.5) > 0.05
    assert np.mean(draws.sum(axis=1) > 0) == pytest.approx(
        share, abs=4.5 * np.sqrt(share * (1 - share) / len(draws))
    )


def test_a_tilted_base_makes_a_flow_that_is_not_odd():
    config = Config("phi4", (4,), interpolation="constant-wells", base="ultralocal")
    model = build(config)
    assert isinstance(model.flow.base, Tilted) and not model.flow.odd and not model.path.even
