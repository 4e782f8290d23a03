"""Calls with shapes that signatures forbid are refused: the checks of conftest.py are on."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import White
from jaxtyping import TypeCheckError

from lattice_flows.flows.fields import Field
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.params import Params
from lattice_flows.mcmc.clusters import flip_cluster
from lattice_flows.sampling.distances import sliced_wasserstein
from observables import average, jackknife, kish_ess
from observables.orbit import orbit_average
from theories import Phi4, TwoGaussians
from theories.lattice import filter_modes

PHI4 = Phi4((4,))
STILL = Field(
    lambda key: {"w": jnp.zeros(1)},
    lambda params, t, phi, couplings: (jnp.zeros_like(phi), jnp.zeros((), phi.dtype)),
    odd=True,
)
FLOW, PARAMS = Flow(White(PHI4), STILL, 2), Params((), {"w": np.zeros(1)})


@pytest.mark.parametrize(
    "call",
    [
        lambda: filter_modes(np.ones(4), np.ones(5)),
        lambda: PHI4.action(jnp.zeros(4), 0.5),
        lambda: TwoGaussians().modes(np.zeros(2)),
        lambda: kish_ess(np.zeros((3, 2))),
        lambda: average(np.zeros(3), np.zeros(4)),
        lambda: jackknife(lambda a: a, np.zeros(3)),
        lambda: orbit_average(*map(np.ones, (3, 3, 3, 2))),
        lambda: FLOW.log_prob(PARAMS, jnp.zeros(()), PHI4.from_values()),
        lambda: FLOW.velocity(PARAMS, jnp.zeros(2), jnp.zeros(4), PHI4.from_values()),
        lambda: flip_cluster(jax.random.key(0), jnp.ones(4), jnp.ones(4)),
        lambda: sliced_wasserstein(np.ones((3, 2)), np.ones((4, 2)), np.random.default_rng(0)),
    ],
)
def test_a_wrong_shape_is_refused(call):
    with pytest.raises(TypeCheckError):
        call()


def test_a_wrong_result_is_refused():
    params = Params((), {"w": np.zeros(1)})
    bad = Field(STILL.init, lambda params, t, phi, couplings: (phi, phi), odd=True)
    with pytest.raises(TypeCheckError, match="return value"):
        Flow(White(PHI4), bad, 2).velocity(params, jnp.zeros(()), jnp.zeros(4), PHI4.from_values())


def test_the_right_shapes_pass():
    phi = jnp.zeros((3, 4))
    assert FLOW.log_prob(PARAMS, phi, PHI4.from_values(m=jnp.ones(()))).shape == (3,)
    assert average(np.arange(4.0), np.zeros(4)).value == pytest.approx(1.5)


def test_packages_say_that_they_are_typed():
    for package in ("theories", "observables", "lattice_flows"):
        assert (Path(__file__).parents[1] / package / "py.typed").is_file()
