"""The transfer matrix from one row of a torus to the next, on Gauss nodes.

    T(x, y) = e^{-½A(x)} Π_i e^{-a (x_i - y_i)²} e^{-½A(y)},
    A(x) = a Σ_i (x_i - x_{i+1})² + Σ_i v(x_i),        Z = Tr T^L

for rows x, y of W sites. Every site is put on the n nodes of gauss.py, so that T is a symmetric,
positive matrix of n^W states, T = D K^{⊗W} D with D diagonal and K(x, y) = e^{2a(xy - b²)}, b the
largest node: it is applied as W small matrices, one site after the other, and never formed. A row
of one site has no bond of its own, one of two sites has two, as in the action (lattice.py).

T commutes with what leaves the row's action as it is. Reflections, shifts by half a row and, of an
even potential, φ → -φ commute with each other, too: they split T into as many as eight sectors.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..gauss import Nodes
from ..quadrature import Potential

Rows = Float[np.ndarray, " states"]
"""A function of a row: its values at all n^W combinations of nodes, the first site slowest."""


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
        """T v."""
        n = len(self.x)
        v = v * self.diagonal
        for _ in range(self.width):  # the first site is taken off, and put on behind the last
            v = v.reshape(n, -1).T @ self._bonds
        return v.reshape(-1) * self.diagonal

    def column(self, state: int) -> Rows:
        """T(·, y) of one row y, as a product over the sites."""
        v = np.full(1, self.diagonal[state])
        for i in np.unravel_index(state, self.shape):
            v = np.multiply.outer(v, self._bonds[i]).reshape(-1)
        return v * self.diagonal

    def matrix(self) -> Float[np.ndarray, "states states"]:
        """T itself; of narrow rows."""
        return np.array([self.column(state) for state in range(self.states)])


class Sector(NamedTuple):
    """Functions of a row that change by given signs under commuting symmetries.

    Such a function is kept by its values at one state of every orbit, times √size of the orbit:
    orthonormal vectors stay so. signs: of the symmetries, φ → -φ the first where it is one; odd:
    whether this changes the sign. representatives: a state of each orbit, the same in all sectors.
    number: of every state, its orbit. follows: the sign by which it follows its orbit, 0 where no
    such function can be other than 0. root: √size of each orbit.
    """

    signs: tuple[int, ...]
    odd: bool
    representatives: Int[np.ndarray, " orbits"]
    number: Int[np.ndarray, " states"]
    follows: Int[np.ndarray, " states"]
    root: Float[np.ndarray, " orbits"]

    def spread(self, u: Float[np.ndarray, " orbits"]) -> Rows:
        """The function of all states."""
        return self.follows * (u / self.root)[self.number]

    def gather(self, v: Rows) -> Float[np.ndarray, " orbits"]:
        """What `spread` makes v of; v is in the sector."""
        return self.follows[self.representatives] * v[self.representatives] * self.root

    def project(self, v: Rows) -> Float[np.ndarray, " orbits"]:
        """The same of the part of v that is in the sector."""
        return np.bincount(self.number, self.follows * v, len(self.root)) / self.root


def sectors(rows: RowMatrix) -> list[Sector]:
    """All of them, that of the leading eigenvector first; together they are the whole space."""
    states = np.arange(rows.states, dtype=np.int32).reshape(rows.shape)
    moves = []
    if rows.even:
        moves.append(np.flip(states).reshape(-1))
    if rows.width > 1:
        moves.append(states.transpose().reshape(-1))
    if rows.width > 2 and rows.width % 2 == 0:
        half = rows.width // 2
        axes = (*range(half, rows.width), *range(half))
        moves.append(states.transpose(axes).reshape(-1))
    identity = states.reshape(-1)

    def image(chosen: tuple[int, ...]) -> Int[np.ndarray, " states"]:
        moved = identity
        for move, used in zip(moves, chosen, strict=True):
            moved = move[moved] if used else moved
        return moved

    choices = list(product((0, 1), repeat=len(moves)))
    first = identity
    for chosen in choices:
        first = np.minimum(first, image(chosen))
    representatives = np.flatnonzero(first == identity)
    number = (np.cumsum(first == identity, dtype=np.int32) - 1)[first]
    # The sum of the signs by which a state comes to its representative: 0 if they contradict.
    follows = [np.zeros(rows.states, dtype=np.int8) for _ in choices]
    for chosen in choices:
        there = (image(chosen) == first).astype(np.int8)
        for signs, total in zip(choices, follows, strict=True):
            total += there if np.dot(signs, chosen) % 2 == 0 else -there
    root = np.sqrt(np.bincount(number))
    return [
        Sector(signs, rows.even and signs[0] == 1, representatives, number, np.sign(total), root)
        for signs, total in zip(choices, follows, strict=True)
    ]
