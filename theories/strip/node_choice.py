"""Which weight e^{-v(x) - c x²} the Gauss nodes of a site are to be those of.

Too small a c leaves e^{-S} far narrower than the weight, too large a c leaves tails that the nodes
do not reach; between the two the error has a sharp minimum, at c = a … 4a mostly. It is looked for
on a narrow torus, of rows of three sites, against the same with far more nodes; where it lies about
is known from rows of two. This takes a second, and tells how many nodes are needed, too.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..gauss import gauss_nodes
from ..quadrature import Potential
from .states import StripStates

_LENGTH = 6
_REFERENCE = {1: 40, 2: 30, 3: 20}  # nodes, by the width
_COARSE = np.linspace(0.5, 4.0, 15)  # c / a
_FINE = np.linspace(-0.45, 0.75, 9)


class Choice(NamedTuple):
    """n nodes of the weight with c, and what they err by on the narrow torus.

    log_z: of log Z per site. error: relative of ⟨φ²⟩ and ⟨φ⁴⟩, or log_z if larger.
    """

    n: int
    c: float
    log_z: float
    error: float


class NodeChoice:
    """Of a potential, with bonds of `stiffness`, for rows of `width` sites."""

    def __init__(self, potential: Potential, stiffness: float, width: int, even: bool) -> None:
        self._potential, self._stiffness, self._even = potential, stiffness, even
        self._widths = min(width, 2), min(width, 3)
        self._known: dict[int, Choice] = {}

    def best(self, n: int) -> Choice:
        """Where `n` nodes are best."""
        if n not in self._known:
            self._known[n] = self._found(n)
        return self._known[n]

    def serves(self, width: int) -> bool:
        """Whether it is the same for rows of `width` sites."""
        return self._widths == (min(width, 2), min(width, 3))

    def _found(self, n: int) -> Choice:
        at, steps = 0.0, _COARSE
        found = Choice(n, np.nan, np.inf, np.inf)
        for width in self._widths:
            tried = [
                self._choice(n, (at + step) * self._stiffness, width)
                for step in steps
                if at + step > 0.3
            ]
            found = min(tried, key=lambda choice: choice.error)
            at, steps = found.c / self._stiffness, _FINE
        return found

    def _choice(self, n: int, c: float, width: int) -> Choice:
        error = np.abs(self._answers(n, c, width) - self._reference[width])
        return Choice(n, c, float(error[0]), float(error.max()))

    @cached_property
    def _reference(self) -> dict[int, Float[np.ndarray, " 3"]]:
        c = 2.4 * self._stiffness
        return {width: self._answers(_REFERENCE[width], c, width) for width in self._widths}

    def _answers(self, n: int, c: float, width: int) -> Float[np.ndarray, " 3"]:
        """log Z per site, ln ⟨φ²⟩ and ln ⟨φ⁴⟩."""
        nodes = gauss_nodes(self._potential, c, n, self._even)
        states = StripStates(
            nodes, self._potential, self._stiffness, width, _LENGTH, self._even, 1e-10
        )
        moments = states.occupation @ np.stack([nodes.x**2, nodes.x**4], axis=1)
        return np.append(states.log_z / (_LENGTH * width), np.log(moments))
