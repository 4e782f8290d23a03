"""Networks that give a scalar: energies of configurations, and functions of time alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from lattice_flows.flows.fields.field import embed, transformed
from lattice_flows.flows.fields.hollow import contexts
from lattice_flows.flows.fields.mlp import kernel_network
from lattice_flows.flows.ranges import Ranges, scaled_couplings
from theories import LatticeTheory, Theory
from theories.shapes import Configuration, Point, Scalar


@dataclass(frozen=True)
class Network:
    """init: key -> params. apply: (params, t, phi, couplings) -> a scalar, in their precision."""

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, Scalar, Configuration, Point], Scalar]


def time_network(theory: Theory, ranges: Ranges, width: int = 32) -> Network:
    """A function of time and couplings alone: C_t, which is ∂_t log Z_t."""

    def function(t, phi, couplings):
        return hk.Linear(1, w_init=hk.initializers.RandomNormal(0.01), name="last_layer")(
            embed(t, couplings, ranges, width)
        )[0]

    return Network(*transformed(theory, function))


def potential(theory: Theory, ranges: Ranges, width: int = 64, scale: float = 1.0) -> Network:
    """A learned energy of a configuration, with the symmetries of a lattice theory.

    On a lattice Σ_x g(φ_x, c_x; t, θ), with the hollow field's contexts c_x and g even; elsewhere
    the network of `mlp`.
    """
    small = hk.initializers.RandomNormal(0.01)

    def of_site(features, hidden):
        """(n, k) -> (n,), modulated by the embedding of time."""
        gain, shift = jnp.split(hk.Linear(2 * width, name="modulation")(hidden)[None], 2, axis=1)
        first, second = hk.Linear(width, name="first_layer"), hk.Linear(width, name="second_layer")
        last = hk.Linear(1, with_bias=False, w_init=small, name="last_layer")
        y = jax.nn.swish(first(features) * (1 + gain) + shift)
        return last(jax.nn.swish(second(y)))[:, 0]

    def lattice(t, phi, couplings):
        assert isinstance(theory, LatticeTheory)
        hidden = embed(t, couplings, ranges, 32)
        flat = phi.reshape(-1, 1)
        features = jnp.concatenate([0.3 * flat, jnp.tanh(flat), contexts(theory, phi, 4)], axis=1)
        return jnp.sum(of_site(jnp.concatenate([features, -features]), hidden))

    def elsewhere(t, phi, couplings):
        scaled = scaled_couplings(couplings, ranges, phi.dtype)
        network = kernel_network(theory.sites, 1, width, scale)
        return network(t, phi.reshape(-1), scaled)[0][0]

    function = lattice if isinstance(theory, LatticeTheory) else elsewhere
    return Network(*transformed(theory, function))
