"""Functions of a row, split by the symmetries that commute with each other.

A reflection of the row, a shift by half of it and, of an even potential, φ → -φ commute, and each
is its own inverse: together they make a group of G = 2, 4 or 8 moves. A function f of the row is a
sum of G parts, one for each way χ in which signs can follow the moves (a sector),

    f_χ(x) = Σ_g χ(g) f(g x) / G,        f_χ(g x) = χ(g) f_χ(x),

so it is enough to know f_χ at one state of every orbit. Times √size of the orbit, orthonormal
functions stay orthonormal. A matrix that commutes with the moves keeps the parts apart: it is
applied to a part of every sector at once.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float

from .rows import RowMatrix, Rows

Parts = Float[np.ndarray, "sectors orbits"]
"""The parts of a function of a row, one of each sector."""


class Symmetry:
    """The moves that leave the action of rows as it is, and the sectors of functions of them.

    signs: of each sector, 0 or 1 for every generator; φ → -φ is the first where the potential is
    even, so that the second half of the sectors are odd, in the order of the first. orbits: how
    many there are. representatives: a state of each. size: of each.
    """

    def __init__(self, rows: RowMatrix) -> None:
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
        self.even, self.signs = rows.even, list(product((0, 1), repeat=len(moves)))
        self._states = rows.states
        images = [states.reshape(-1)]
        for move in reversed(moves):  # in the order of `signs`
            images += [move[image] for image in images]
        first = images[0].copy()
        for image in images:
            np.minimum(first, image, out=first)
        self.representatives = np.flatnonzero(first == images[0])
        self._images = np.array([image[self.representatives] for image in images])
        self._characters = np.array(
            [[(-1.0) ** np.dot(signs, chosen) for chosen in self.signs] for signs in self.signs]
        )
        fixed = (self._images == self._images[0]).astype(np.float64)
        # The moves that fix a state contradict a sector whose signs do not add up there.
        self._root = np.sqrt(len(self.signs) / fixed.sum(axis=0))
        allowed = self._characters @ fixed > 0.5
        self._weight = allowed * (self._root / len(self.signs))

    @property
    def orbits(self) -> int:
        return len(self.representatives)

    @property
    def size(self) -> Float[np.ndarray, " orbits"]:
        return self._root**2

    def odd(self, sector: int) -> bool:
        """Whether functions of the sector change sign under φ → -φ."""
        return self.even and self.signs[sector][0] == 1

    def spread(self, parts: Parts) -> Rows:
        """The function of all states that has these parts."""
        values = self._characters.T.astype(parts.dtype) @ parts
        return self._everywhere(values)

    def spread_one(self, sector: int, part: Float[np.ndarray, " orbits"]) -> Rows:
        """The same of a function that has one part alone."""
        return self._everywhere(np.outer(self._characters[sector].astype(part.dtype), part))

    def gather(self, function: Rows) -> Parts:
        """The parts of a function of all states."""
        parts = self._characters.astype(function.dtype) @ function[self._images]
        parts *= self._weight.astype(parts.dtype, copy=False)
        return parts

    def _everywhere(self, values: Float[np.ndarray, "moves orbits"]) -> Rows:
        values /= self._root.astype(values.dtype, copy=False)
        function = np.empty(self._states, dtype=values.dtype)
        function[self._images] = values
        return function
