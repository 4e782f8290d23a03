"""What the nodes of a site err by: told from other numbers of nodes, or from narrower strips.

Where n, n - 1 and n - 2 nodes can all be paid, the differences tell: the error falls faster than
exponentially in n.

On wide strips more nodes are too dear, but the error can be taken off. To put the sites on nodes is
to change the action at every site, by a little that is the same everywhere. What that does to an
average hardly depends on the width, once this is more than a few sites: it is found on narrower
strips, where far more nodes cost nothing,

    O(W) ≈ O_n(W) + [O(W') - O_n(W')],    W' < W,

and the same with a still narrower one tells how good that is. What grows with the volume is
compared by site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .answers import Answer

_LEFT = 0.1


@dataclass(frozen=True)
class Reshaped:
    """`theory`, with the same action at every site, on a torus of another shape.

    Not the theory's own of that shape, whose potential may be another: a time step may depend on
    the number of slices.
    """

    theory: Any
    shape: tuple[int, ...]

    @property
    def sites(self) -> int:
        return prod(self.shape)

    @property
    def is_free(self) -> bool:
        return self.theory.is_free

    def validate(self, couplings: Any) -> None:
        self.theory.validate(couplings)

    def is_symmetric(self, couplings: Any) -> bool:
        return self.theory.is_symmetric(couplings)

    def stiffness(self, couplings: Any) -> Any:
        return self.theory.stiffness(couplings)

    def potential(self, x: Any, couplings: Any) -> Any:
        return self.theory.potential(x, couplings)


def from_nodes(levels: Sequence[Answer]) -> Answer:
    """The answer of most nodes, and its error: of the states left out, and of the nodes.

    Where two numbers of nodes agree by chance the third tells; where n - 1 nodes are better than n
    by chance, twice the difference does.
    """
    value, error = levels[0]
    nodes = 2 * np.abs(value - levels[1][0]) + np.abs(value - levels[2][0]) / 8
    return _number(value, error + nodes)


def from_narrower(at: Answer, shifts: Sequence[Answer]) -> Answer:
    """The answer with the shift of the wider of two narrower strips, and its error.

    Shifts that are alike by chance are not trusted to more than a tenth. An array by displacements
    that narrower strips do not have is left as it is.
    """
    (value, error), (shift, more), (other, _) = at, *shifts
    if np.shape(shift) != np.shape(value):
        return value, error + float(np.max(more) + np.max(np.abs(shift)))
    left = 2 * np.abs(shift - other) + _LEFT * np.abs(shift)
    return _number(value + shift, error + more + left)


def _number(value: Any, error: Any) -> Answer:
    return value, (float(error) if np.ndim(error) == 0 else error)
