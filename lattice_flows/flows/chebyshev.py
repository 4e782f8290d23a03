"""Chebyshev polynomials of time and couplings: what linear fields and paths are expanded in."""

from itertools import product
from typing import Any

import jax.numpy as jnp
from jaxtyping import Float

from lattice_flows.flows.ranges import Ranges, scaled_couplings
from theories.shapes import Array, Point, Scalar

COUPLING_DEGREE = 4
"""Of the polynomials in the couplings, in total."""


def polynomials(x: Scalar, degree: int) -> Float[Array, " {degree}+1"]:
    """T_0(x) … T_degree(x)."""
    found = [jnp.ones_like(x), x]
    while len(found) <= degree:
        found.append(2 * x * found[-1] - found[-2])
    return jnp.stack(found[: degree + 1])


def degrees(ranges: Ranges) -> list[tuple[int, ...]]:
    """The degrees in each coupling, of COUPLING_DEGREE in total at most."""
    each = product(range(COUPLING_DEGREE + 1), repeat=len(ranges))
    return [some for some in each if sum(some) <= COUPLING_DEGREE]


def of_couplings(couplings: Point, ranges: Ranges, dtype: Any) -> Float[Array, " terms"]:
    """The products of polynomials of the couplings, each scaled to [-1, 1] within its range."""
    scaled = scaled_couplings(couplings, ranges, dtype)
    each = [polynomials(x, COUPLING_DEGREE) for x in scaled]
    terms = []
    for some in degrees(ranges):
        term = jnp.ones((), dtype)
        for table, degree in zip(each, some, strict=True):
            term = term * table[degree]
        terms.append(term)
    return jnp.stack(terms)
