"""Velocity fields in coupling space: u_j(φ; θ), one for each coupling θ_j that varies.

Along any way θ(t) through coupling space they make the field of a flow,

    V(φ, t) = Σ_j (dθ_j/dt) u_j(φ; θ(t)),

whose divergence is the same sum of the exact ∇·u_j. They share the contexts and all but the last
layer of one hollow network (hollow.py), and each has its own part of the Gaussian backbone. Inside,
u_j is per half range of θ_j, the unit in which the network sees θ.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Float

from lattice_flows.flows.fields.backbone import coupling_backbone
from lattice_flows.flows.fields.field import Field, transformed
from lattice_flows.flows.fields.hollow import site_network
from lattice_flows.flows.ranges import Ranges, scaled_couplings
from theories import LatticeTheory
from theories.shapes import Array, Configuration, Point, Scalar

Route = Callable[[Scalar, Any], Any]
"""(t, couplings) -> the couplings at t of a way that ends at `couplings`."""


@dataclass(frozen=True)
class TransportFields:
    """u_j for each coupling of `ranges`, in their order.

    apply: (params, phi, couplings) -> (velocities, divergences), per half range of each coupling,
        in the precision of the params, of phi and of the couplings, which must
        agree. All are odd.
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[
        [Any, Configuration, Point], tuple[Float[Array, " k *shape"], Float[Array, " k"]]
    ]
    ranges: Ranges

    def along(self, route: Route) -> "TransportField":
        """The field of the flow along `route`."""

        def apply(params, t, phi, couplings):
            there, speed = jax.jvp(lambda t: route(t, couplings), (t,), (jnp.ones_like(t),))
            velocities, divergences = self.apply(params, phi, there)
            rates = in_half_ranges(speed, self.ranges, phi.dtype)
            return jnp.tensordot(rates, velocities, 1), jnp.dot(rates, divergences)

        return TransportField(self.init, apply, True, self)


@dataclass(frozen=True)
class TransportField(Field):
    """A field along a route, and the fields in coupling space that it is made of."""

    fields: TransportFields


def transport(theory: LatticeTheory, ranges: Ranges, width: int = 32) -> TransportFields:
    """The fields for `theory`; `width` of the hidden layers."""
    count = len(ranges)

    def function(t, phi, couplings):
        scaled = scaled_couplings(couplings, ranges, phi.dtype)
        hidden = jax.nn.swish(hk.Linear(32, name="embed_1")(scaled))
        hidden = jax.nn.swish(hk.Linear(32, name="embed_2")(hidden))
        linear, linear_divergences = coupling_backbone(theory, phi, couplings, hidden, count)
        velocities, divergences = site_network(theory, phi, hidden, width, outputs=count)
        return linear + velocities, linear_divergences + divergences

    init, timed = transformed(theory, function)

    def apply(params, phi, couplings):
        return timed(params, jnp.zeros((), phi.dtype), phi, couplings)  # no time is looked at

    return TransportFields(init, apply, ranges)


def in_half_ranges(direction: Point, ranges: Ranges, dtype: Any) -> Float[Array, " {len(ranges)}"]:
    """A change of the couplings, each in units of half its range."""
    changes = [
        2 * jnp.asarray(getattr(direction, name), dtype) / (high - low)
        for name, (low, high) in ranges.items()
    ]
    return jnp.stack(changes)
