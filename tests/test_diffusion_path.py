"""The diffusion path: its ends, its normalisation, and the field that solves it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import theories
from lattice_flows.flows.base import make_base
from lattice_flows.flows.model import build
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import PATHS
from lattice_flows.runs.config import Config
from theories import LatticeFlowsError

WIDTH = 5.0
TIMES = (0.0, 0.2, 0.5, 0.9, 1.0)


def path(name: str = "gmm-2", width: float = WIDTH):
    base = make_base("normal", theories.make(name), {}, width=width)
    return PATHS["diffusion"](base, False, {}, 32)


def energies(path, t, x):
    couplings = path.base.theory.from_values()
    one = jax.jit(jax.vmap(lambda x: path.energy(Params(()), jnp.asarray(t), x, couplings)))
    return one(jnp.asarray(x))


@pytest.mark.parametrize("name", ["gmm-2", "gmm-4", "gmm-40"])
def test_it_leads_from_the_base_to_the_action(name, rng):
    found, x = path(name), rng.normal(0, 6, (20, 2))
    base, action = jax.vmap(lambda x: found.ends(Params(()), x, found.base.theory.from_values()))(
        jnp.asarray(x)
    )
    np.testing.assert_allclose(energies(found, 0.0, x), base, rtol=1e-12)
    np.testing.assert_allclose(energies(found, 1.0, x), action, rtol=1e-12)


@pytest.mark.parametrize("t", TIMES)
def test_log_z_is_that_of_quadrature(t):
    """The trapezoid rule in the plane: log Z_t = (1 - t) log Z₀, Z₀ = 2π σ²."""
    found, axis = path(width=3.0), np.linspace(-24, 24, 193)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    z = np.sum(np.exp(-np.asarray(energies(found, t, grid)))) * 0.25**2
    np.testing.assert_allclose(np.log(z), (1 - t) * np.log(2 * np.pi * 9), atol=1e-9)


@pytest.mark.parametrize("t", TIMES)
def test_it_is_the_law_of_signal_and_noise(t):
    """x = a μ_k + √(a² s² + (1 - a²) σ²) ξ with a = sin(πt/2), written out with scipy."""
    found, x = path(), np.array([[1.0, 2.0], [-6.0, -7.0], [4.0, 3.0]])
    a = np.sin(np.pi * t / 2)
    variance = a**2 + (1 - a**2) * WIDTH**2
    law = sum(
        w * multivariate_normal(a * np.array(mean), variance).pdf(x)
        for w, mean in ((1 / 3, (4, 4)), (2 / 3, (-8, -8)))
    )
    log_p = -energies(found, t, x) - (1 - t) * np.log(2 * np.pi * WIDTH**2)
    np.testing.assert_allclose(log_p, np.log(law), rtol=1e-10)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0])
def test_the_known_field_solves_the_deformation_equation(t, rng):
    """V = Σ_k r_k (a' μ_k + (b'/b)(x - a μ_k)), the mean velocity of the modes: the residual
    ∂_t f + ⟨∇f, V⟩ - ∇·V + d(log Z_t)/dt vanishes."""
    found = path("gmm-4")
    theory, couplings = found.base.theory, found.base.theory.from_values()
    means = jnp.asarray(theory.means)

    def a(t):
        return jnp.sin(jnp.pi * t / 2)

    def b(t):
        return jnp.sqrt(a(t) ** 2 + (1 - a(t) ** 2) * WIDTH**2)

    def field(x, t):
        away = x[None] - a(t) * means
        shares = jax.nn.softmax(-jnp.sum(away**2, axis=1) / (2 * b(t) ** 2))
        return shares @ (jax.grad(a)(t) * means + jax.grad(b)(t) / b(t) * away)

    def residual(x, t):
        gradient = jax.grad(lambda x: found.energy(Params(()), t, x, couplings))(x)
        divergence = jnp.trace(jax.jacfwd(field)(x, t))
        rate = found.rate(Params(()), t, x, couplings)
        return rate + gradient @ field(x, t) - divergence - jnp.log(2 * jnp.pi * WIDTH**2)

    points = jnp.asarray(rng.normal(0, 5, (10, 2)))
    residuals = jax.jit(jax.vmap(residual, in_axes=(0, None)))(points, jnp.asarray(t))
    np.testing.assert_allclose(residuals, 0, atol=1e-9)


def test_it_keeps_the_precision_it_is_given():
    found, x = path(), jnp.ones(2, jnp.float32)
    t = jnp.float32(0.5)
    energy = found.energy(Params(()), t, x, found.base.theory.from_values())
    rate = found.rate(Params(()), t, x, found.base.theory.from_values())
    assert energy.dtype == rate.dtype == jnp.float32


def test_a_configuration_may_ask_for_it():
    model = build(Config(theory="gmm-40", interpolation="diffusion", base_width=20.0))
    assert model.path.base.scale == pytest.approx(20)
    assert not model.flow.odd


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"theory": "phi4", "shape": (4,)}, "phi4 is no Gaussian mixture"),
        ({"theory": "many-well", "shape": (4,)}, "many-well is no Gaussian mixture"),
        ({"theory": "gmm-2", "couplings": {"beta": 0.5}}, "beta 1 alone, not 0.5"),
        ({"theory": "gmm-2", "couplings": {"beta": (0.5, 1)}}, "beta 1 alone, not 0.5:1"),
    ],
)
def test_elsewhere_it_is_refused_in_one_line(settings, words):
    with pytest.raises(LatticeFlowsError, match=words) as caught:
        Config(interpolation="diffusion", **settings)
    assert '`interpolation="diffusion"`' in str(caught.value)
    assert "\n" not in str(caught.value)
