"""The contract of a velocity field, and the conditioning on time and couplings that fields share.

A field gives V(φ, t; θ) and its divergence ∇·V = Σ_x ∂V_x/∂φ_x, exact, of one configuration:

    field(t, phi, couplings) -> (velocity, divergence)

Inside, it is a haiku function; `Field` holds the transformed pair, so that haiku is known in this
folder alone and the parameters travel through a solver as plain arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows.ranges import Ranges, scaled_couplings
from theories import Theory
from theories.shapes import Array, Configuration, Point, Scalar


@dataclass(frozen=True)
class Field:
    """A velocity field with an exact divergence.

    init: key -> params.
    apply: (params, t, phi, couplings) -> (velocity like phi, divergence scalar), in the precision
        of the params and of phi, which must agree.
    odd: whether V(-φ, t; θ) = -V(φ, t; θ), whatever the parameters.
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, Scalar, Configuration, Point], tuple[Configuration, Scalar]]
    odd: bool

    @property
    def batch(self) -> int:
        """How many configurations are drawn at once, at most."""
        return 2048

    @classmethod
    def from_function(cls, theory: Theory, function: Callable, odd: bool = True) -> "Field":
        """The field of a haiku function (t, phi, couplings) -> (velocity, divergence)."""
        return cls(*transformed(theory, function), odd)


def transformed(theory: Theory, function: Callable) -> tuple[Callable, Callable]:
    """init and apply of a haiku function of (t, phi, couplings) of `theory`."""
    pair = hk.without_apply_rng(hk.transform(function))

    def init(key: jax.Array) -> Any:
        couplings = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), theory.from_values())
        phi = jnp.zeros(theory.shape, jnp.float32)
        return pair.init(key, jnp.float32(0.5), phi, couplings)

    return init, pair.apply


def embed(t: Scalar, couplings: Point, ranges: Ranges, width: int) -> Float[Array, " {width}"]:
    """A learned embedding of time and couplings, within a haiku function.

    Two layers: with one, t and the couplings would hardly interact, and a conditioned flow is
    noticeably worse at the ends of its ranges.
    """
    hidden = jax.nn.swish(hk.Linear(width, name="embed_1")(condition(t, couplings, ranges)))
    return jax.nn.swish(hk.Linear(width, name="embed_2")(hidden))


def condition(
    t: Scalar, couplings: Point, ranges: Ranges, kernels: int = 8
) -> Float[Array, " {kernels}+{len(ranges)}"]:
    """What a field sees of time and couplings: Gaussian kernels in t, couplings scaled to [-1, 1].

    Couplings outside `ranges` are fixed and not shown.
    """
    centres = jnp.asarray(np.linspace(0, 1, kernels), t.dtype)
    bumps = jnp.exp(-0.5 * (0.8 * (kernels - 1) * (t - centres)) ** 2)
    return jnp.concatenate([bumps, scaled_couplings(couplings, ranges, t.dtype)])
