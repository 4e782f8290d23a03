"""A learned energy and the velocity that is its gradient: the gradient flow of arXiv:2410.03282.

The reversed Wasserstein gradient flow of KL(·‖p₀) for a normal base, p₀ = N(0, σ²), is the
Ornstein-Uhlenbeck flow: with x = a x₁ + σ√(1-a²) z, a from 0 to 1,

    f = |x|²/2σ² + a g(x, a),      V = da/dt · ∇(f₀ - f) σ²/a = -σ² da/dt · ∇g,

so that one network g is both energy and velocity. Both ends are built in: f is f₀ at a = 0, and at
a = 1 the action S, in three parts (lengths in units of σ from here on),

    g = box(x, a) + a^{q-1} (S - box₁) + (1 - a^q) A(a) N(x, a).

The first is in closed form for a flat box [-L, L]^d and gives every f the right tails; N is a
network of damped Fourier features and of e^{-S(x/a)}. Most of the work is done at small a:
a = (e^{t log(1+R)} - 1)/R, R about the size of the box. The action enters over a flat floor of
e^{-12} of its height within the box; weights are taken with the action itself. A unit normal has
the tails of box and target alike: lengths of the target are to be of the base's order or less.

Gradient, Laplacian and time derivative are carried forward through the network together with its
value: the divergence is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, log1p
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows.fields.field import Field, transformed
from lattice_flows.flows.ranges import Ranges, scaled_couplings
from theories import Theory
from theories.shapes import Array, Configuration, Point, Scalar

_LEAST = 1e-3  # of a where it divides
_POWER = 6  # q
_FLOOR = 12.0
_BANDS, _FEATURES, _DAMPING = (1.0, 3.0, 8.0), 32, 0.25
_DEPTH = 3
_TEMPERATURES = (1.0, 0.5, 0.2)


Flat = Float[Array, " d"]
"""One configuration, flat, in units of σ."""


class Jet(NamedTuple):
    """f at one time and place, with its derivatives, and the velocity that goes with it.

    force: ∇f. rate: ∂_t f. divergence: ∇·velocity.
    """

    value: Scalar
    force: Configuration
    rate: Scalar
    velocity: Configuration
    divergence: Scalar


@dataclass(frozen=True)
class GradientEnergy:
    """A gradient flow: (params, t, phi, couplings) -> f or its `Jet`, the field, a(t)."""

    energy: Callable[[Any, Scalar, Configuration, Point], Scalar]
    jet: Callable[[Any, Scalar, Configuration, Point], Jet]
    field: Field
    extent: Callable[[Scalar], Scalar]


def gradient(
    theory: Theory,
    couplings: Point,
    ranges: Ranges,
    base_width: float,
    half_box: float,
    width: int = 128,
) -> GradientEnergy:
    """The gradient flow to `theory` from N(0, base_width²), within [-half_box, half_box]^d.

    couplings: typical ones, where the least action in the box is found.
    """
    end = half_box / base_width
    least = _least_action(theory, couplings, half_box)
    spread = 0.75 * end
    rng = np.random.default_rng(0)
    frequencies = np.concatenate(
        [band * rng.normal(size=(_FEATURES, theory.sites)) for band in _BANDS]
    )

    def of_t(t: Scalar) -> Scalar:
        return jnp.expm1(t * log1p(spread)) / spread

    def action(x: Flat, couplings: Point) -> tuple[Scalar, Scalar]:
        """S over its floor, from its least value up, and the energy of the flat box."""
        s = theory.action(base_width * x.reshape(theory.shape), couplings) - least
        box = 0.5 * jnp.sum(x * x) + _box(x, jnp.ones((), x.dtype), end)
        return -jnp.logaddexp(-s, -(_FLOOR + box)), box

    def known(x: Flat, a: Scalar, couplings: Point) -> Scalar:
        energy, box = action(x / a, couplings)
        return _box(x, a, end) + a ** (_POWER - 1) * (energy - box)

    def features(x: Flat, a: Scalar, couplings: Point) -> Float[Array, " features"]:
        size = 1 + (spread * a) ** 2
        z = x / jnp.sqrt(size)
        omega = jnp.asarray(frequencies, x.dtype)
        damping = jnp.exp(-0.5 * _DAMPING * jnp.sum(omega**2, axis=1) / size)
        phase = omega @ z
        s = jnp.log1p(spread * a) / log1p(spread)
        waves = jnp.stack([s - 0.5, *(jnp.cos(k * jnp.pi * s) for k in (1, 2, 3, 4))])
        energy = action(x / a, couplings)[0]
        heights = jnp.stack([jnp.exp(-k * energy) for k in _TEMPERATURES])
        return jnp.concatenate(
            [
                z,
                damping * jnp.sin(phase),
                damping * jnp.cos(phase),
                waves,
                heights,
                scaled_couplings(couplings, ranges, x.dtype),
            ]
        )

    def amplitude(a: Scalar) -> Scalar:
        return (1 - a**_POWER) * spread / jnp.sqrt(1 + (spread * a) ** 2)

    def energy(t: Scalar, phi: Configuration, couplings: Point) -> Scalar:
        x, a = phi.reshape(-1) / base_width, of_t(t)
        b = jnp.maximum(a, _LEAST)
        network = _network(features(x, b, couplings)[None], width)[0]
        g = known(x, b, couplings) + amplitude(b) * network
        return 0.5 * jnp.sum(x * x) + a * (g + least)

    def jet(t: Scalar, phi: Configuration, couplings: Point) -> Jet:
        x = phi.reshape(-1) / base_width
        a, growth = jax.jvp(of_t, (t,), (jnp.ones_like(t),))
        b = jnp.maximum(a, _LEAST)
        network = _network(_rows(lambda x, a: features(x, a, couplings), x, b), width)
        size, slope = jax.jvp(amplitude, (b,), (jnp.ones_like(b),))
        g = _rows(lambda x, a: known(x, a, couplings), x, b) + size * network
        value, force, laplacian, rate = g[0], g[1:-2], g[-2], g[-1] + slope * network[0]
        return Jet(
            0.5 * jnp.sum(x * x) + a * (value + least),
            ((x + a * force) / base_width).reshape(phi.shape),
            growth * (value + least + a * rate),
            -growth * base_width * force.reshape(phi.shape),
            -growth * laplacian,
        )

    init, of_jet = transformed(theory, jet)

    def velocity(
        params: Any, t: Scalar, phi: Configuration, couplings: Point
    ) -> tuple[Configuration, Scalar]:
        jet = of_jet(params, t, phi, couplings)
        return jet.velocity, jet.divergence

    of_energy = transformed(theory, energy)[1]
    return GradientEnergy(of_energy, of_jet, Field(init, velocity, odd=False), of_t)


def _network(rows: Float[Array, "rows features"], width: int) -> Float[Array, " rows"]:
    """A network of features: of their values alone, one row, or with the derivatives that
    `_rows` gives, d + 3 rows."""
    for i in range(_DEPTH):
        linear = hk.Linear(width, with_bias=False, name=f"layer_{i}")(rows)
        bias = hk.get_parameter(f"bias_{i}", (width,), init=jnp.zeros)
        value, derivatives = linear[0] + bias, linear[1:]
        gate = jax.nn.sigmoid(value)
        first = gate * (1 + value * (1 - gate))
        second = gate * (1 - gate) * (2 + value * (1 - 2 * gate))
        activated = jnp.concatenate([(value * gate)[None], first[None] * derivatives])
        if len(rows) > 1:
            bent = second * jnp.sum(derivatives[:-2] ** 2, axis=0)
            activated = activated.at[-2].add(bent)
        rows = rows + activated if i else activated
    small = hk.initializers.RandomNormal(0.01 / np.sqrt(width))
    return hk.Linear(1, with_bias=False, w_init=small, name="last_layer")(rows)[:, 0]


def _rows(function: Callable, x: Flat, a: Scalar) -> Float[Array, " d+3 ..."]:
    """Value, derivative along each component, Laplacian and derivative by a of `function`."""
    first, second = [], []
    for i in range(len(x)):
        along = jnp.zeros_like(x).at[i].set(1)

        def slope(x: Flat, along: Flat = along) -> tuple[jax.Array, jax.Array]:
            return jax.jvp(lambda y: function(y, a), (x,), (along,))

        (_, one), (_, two) = jax.jvp(slope, (x,), (along,))
        first.append(one)
        second.append(two)
    value, rate = jax.jvp(lambda a: function(x, a), (a,), (jnp.ones_like(a),))
    return jnp.stack([value, *first, sum(second[1:], second[0]), rate])


def _box(x: Flat, a: Scalar, end: float) -> Scalar:
    """(f - f₀)/a of a flat box: unit normals two apart along each axis, carried by the flow."""
    count = 2 * round(0.5 * end) + 1
    centres = a * jnp.asarray(np.linspace(-end, end, count), x.dtype)[None]
    exponents = centres * x[:, None] - 0.5 * centres**2
    return -jnp.sum(jax.nn.logsumexp(exponents, axis=1) - log(count)) / a


def _least_action(theory: Theory, couplings: Point, half_box: float) -> float:
    """About the least action in the box: the least of many uniform points."""
    points = np.random.default_rng(1).uniform(-half_box, half_box, (100_000, *theory.shape))
    return float(jnp.min(jax.vmap(lambda x: theory.action(x, couplings))(jnp.asarray(points))))
