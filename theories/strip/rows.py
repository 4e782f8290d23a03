"""The transfer matrix from one row of a torus to the next, on Gauss nodes.

    T(x, y) = e^{-½A(x)} Π_i e^{-a (x_i - y_i)²} e^{-½A(y)},
    A(x) = a Σ_i (x_i - x_{i+1})² + Σ_i v(x_i),        Z = Tr T^L

for rows x, y of W sites. Every site is put on the n nodes of gauss.py, so that T is a symmetric,
positive matrix of n^W states, T = D K^{⊗W} D with D diagonal and K(x, y) = e^{2a(xy - b²)}, b the
largest node: it is applied as W small matrices, one site after the other, and never formed. A row
of one site has no bond of its own, one of two sites has two, as in the action (lattice.py).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ..gauss import Nodes
from ..quadrature import Potential

Rows = Float[np.ndarray, " states"]
"""A function of a row: its values at all n^W combinations of nodes, the first site slowest.

In single precision where that is enough, else in double."""


class RowMatrix:
    """T in units of e^{log_scale}, for rows of `width` sites; symmetric, every eigenvalue ≥ 0.

    x: the nodes. even: the potential is, and the nodes. shape: (n,) * width.
    """

    def __init__(
        self, nodes: Nodes, potential: Potential, stiffness: float, width: int, even: bool
    ) -> None:
        self.x, self.width, self.even = nodes.x, width, even
        n = len(nodes.x)
        self.shape = (n,) * width
        self.states = n**width
        bound = float(np.max(np.abs(nodes.x)))
        self._bonds = np.exp(2 * stiffness * (np.outer(nodes.x, nodes.x) - bound**2))
        self._pair = np.kron(self._bonds, self._bonds)
        site = potential(nodes.x) - nodes.log_w + 2 * stiffness * nodes.x**2
        action = np.zeros(self.shape)
        for i in range(width):
            action += self.along(i, site)
            if width > 1:
                step = self.along(i, nodes.x) - self.along((i + 1) % width, nodes.x)
                action += stiffness * step**2
        least = float(action.min())
        self.log_scale = 2 * stiffness * bound**2 * width - least
        self.diagonal = np.exp((least - action) / 2).reshape(-1)

    def along(self, site: int, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " *spread"]:
        """A function of one site of the row, as an array that spreads over all of `shape`."""
        return values.reshape([-1 if i == site else 1 for i in range(self.width)])

    def field(self, site: int) -> Rows:
        """φ at one site of the row."""
        return np.broadcast_to(self.along(site, self.x), self.shape).reshape(-1)

    def total(self) -> Rows:
        """Σ_i φ_i over the row."""
        return np.sum([self.field(i) for i in range(self.width)], axis=0)

    def apply(self, v: Rows) -> Rows:
        """T v, in the precision of v."""
        diagonal, pair, single = (
            one.astype(v.dtype, copy=False) for one in (self.diagonal, self._pair, self._bonds)
        )
        v = v * diagonal
        # Sites are taken off in front, two at a time, and put on behind the last.
        for bonds in (pair,) * (self.width // 2) + (single,) * (self.width % 2):
            v = v.reshape(len(bonds), -1).T @ bonds
        v = v.reshape(-1)
        v *= diagonal
        return v

    def column(self, state: int) -> Rows:
        """T(·, y) of one row y, as a product over the sites."""
        v = np.full(1, self.diagonal[state])
        for i in np.unravel_index(state, self.shape):
            v = np.multiply.outer(v, self._bonds[i]).reshape(-1)
        return v * self.diagonal

    def matrix(self) -> Float[np.ndarray, "states states"]:
        """T itself; of narrow rows."""
        return np.array([self.column(state) for state in range(self.states)])
