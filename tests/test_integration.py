"""Thermodynamic integration along a flow, against log Z in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import White

from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.fields import Field, time_network
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.model import Model
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import LinearPath
from lattice_flows.runs.config import Config
from lattice_flows.sampling.integration import integrated_log_z
from theories import FreeField
from theories.lattice import filter_modes, laplacian_eigenvalues

START, MASS_SQUARED = 1.5, 0.4


def made(constant="closed"):
    """A flow to the free field whose parameter multiplies the exact velocity."""
    theory = FreeField((3, 2))
    modes = jnp.asarray(laplacian_eigenvalues(theory.shape)) + MASS_SQUARED

    def apply(factor, t, phi, couplings):
        rate = -0.5 * (modes - START) / ((1 - t) * START + t * modes)
        return factor * filter_modes(rate, phi), factor * jnp.sum(rate)

    field = Field(lambda key: jnp.ones(()), apply, odd=True)
    flow = Flow(White(theory, START), field, 32)
    couplings = theory.from_values(mass_squared=jnp.float64(MASS_SQUARED))
    config = Config("free-field", theory.shape, constant=constant)
    model = Model(config, flow, LinearPath(flow.base), Couplings(couplings, {}))
    return theory, couplings, model


def test_log_z_is_the_integral_of_its_rate():
    """Exact to the quadrature but for noise: 5 standard errors of ⟨∂_t f⟩ over 20,000 draws."""
    theory, couplings, model = made()
    run = jax.jit(lambda p, key: integrated_log_z(model, p, key, couplings, 20_000))
    exact = theory.log_z(couplings)
    assert abs(exact - float(model.flow.base.log_normalisation((), couplings))) > 0.3
    for factor in (1.0, 0.9):  # weights mend what the field gets wrong
        log_z = run(Params((), jnp.float64(factor)), jax.random.key(2))
        assert log_z == pytest.approx(exact, abs=5 * 2.5 / np.sqrt(20_000))


def test_a_network_is_integrated_as_it_is():
    theory, couplings, model = made("network")
    network = time_network(theory, {})
    params = Params((), jnp.float64(1.0), (), network.init(jax.random.key(1)))
    log_z = integrated_log_z(model, params, jax.random.key(2), couplings, 2)
    at = jax.vmap(
        lambda t: network.apply(params.constant, t, jnp.zeros(theory.shape, jnp.float32), couplings)
    )
    with jax.numpy_dtype_promotion("standard"):
        c = at(jnp.linspace(0, 1, 2001, dtype=jnp.float32))
    start = float(model.flow.base.log_normalisation((), couplings))
    assert log_z == pytest.approx(start + float(np.trapezoid(c, dx=1 / 2000)), abs=1e-4)
    assert abs(np.mean(c)) > 1e-4
