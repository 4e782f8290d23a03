"""Which weight e^{-v(x) - c x²} the Gauss nodes of a site are to be those of.

Too small a c leaves e^{-S} far narrower than the weight, too large a c leaves tails that the nodes
do not reach; between the two the error has a sharp minimum, at c = a … 3a mostly. It is looked for
on the narrowest torus whose sites have as many bonds, 2 × 4 (of a chain: one of 4 sites), against
the same with far more nodes: this takes milliseconds, and tells how many nodes are needed, too.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..gauss import Nodes, gauss_nodes
from ..quadrature import Potential
from .rows import RowMatrix

_LENGTH = 4
_REFERENCE = 26
_TRIED = np.linspace(0.5, 4.0, 15)  # c / a


class Choice(NamedTuple):
    """n nodes of the weight with c, and the largest error on the small torus.

    error: of log Z per site, relative of ⟨φ²⟩ and ⟨φ⁴⟩.
    """

    n: int
    c: float
    error: float


class NodeChoice:
    """Of a potential, with bonds of `stiffness`, for rows of `width` sites."""

    def __init__(self, potential: Potential, stiffness: float, width: int, even: bool) -> None:
        self._potential, self._stiffness, self._even = potential, stiffness, even
        self._width = min(width, 2)

    def best(self, n: int) -> Choice:
        """Where `n` nodes are best."""
        choices = []
        for ratio in _TRIED:
            c = float(ratio * self._stiffness)
            nodes = gauss_nodes(self._potential, c, n, self._even)
            error = float(np.max(np.abs(self._answers(nodes) - self._reference)))
            choices.append(Choice(n, c, error))
        return min(choices, key=lambda choice: choice.error)

    @cached_property
    def _reference(self) -> Float[np.ndarray, " 3"]:
        c = 2 * self._stiffness
        return self._answers(gauss_nodes(self._potential, c, _REFERENCE, self._even))

    def _answers(self, nodes: Nodes) -> Float[np.ndarray, " 3"]:
        """log Z per site, ln ⟨φ²⟩ and ln ⟨φ⁴⟩."""
        rows = RowMatrix(nodes, self._potential, self._stiffness, self._width, self._even)
        values, vectors = np.linalg.eigh(rows.matrix())
        powers = (values.clip(0) / values[-1]) ** _LENGTH
        log_z = _LENGTH * (np.log(values[-1]) + rows.log_scale) + np.log(powers.sum())
        states = vectors**2 @ powers / powers.sum()
        site = states.reshape(len(nodes.x), -1).sum(axis=1)
        moments = site @ np.stack([nodes.x**2, nodes.x**4], axis=1)
        return np.append(log_z / (_LENGTH * self._width), np.log(moments))
