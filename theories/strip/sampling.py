"""Exact independent samples of a strip.

Rows are first drawn on the nodes: row 0 from the diagonal of T^L, the row half-way round from
T^h(0, ·) T^{L-h}(0, ·), and the others from there back to row 0, each from T(neighbour, ·) times
the power of T that is left. Then every site leaves its node: sites without a common bond are drawn
afresh, continuously, from p(φ_i | neighbours), until each has been redrawn once.

The sum of a site's weight over the nodes, its z neighbours' sum f held, is

    Q(f) = Σ_i w_i e^{-z a x_i² + 2 a f x_i},    not    I(f) = ∫ e^{-v(x) - z a x² + 2 a f x} dx.

A site that is drawn afresh, from a density with I, thus brings a factor Q/I into the density of all
others, and draws have the weight w = Π_i I(f_i) / Q(f_i), f_i as it was when site i was drawn.
Accepting them with probabilities ∝ w leaves p itself, however few the nodes are, but for the rare
draws above the largest weight of a few hundred, which count as that one.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..bridge import draw_sites
from ..quadrature import Potential, resolution, support, uniform_grid
from .states import StripStates

_PILOT = 256


class Drawn(NamedTuple):
    """Configurations, each row a row of the strip, and ln w of each."""

    phi: Float[np.ndarray, "n L W"]
    log_w: Float[np.ndarray, " n"]


class StripSampler:
    """Draws of a strip of rows whose leading states are known."""

    def __init__(self, states: StripStates, potential: Potential, stiffness: float) -> None:
        from scipy.interpolate import CubicSpline  # the command line must not wait for it

        self.states, self._stiffness = states, stiffness
        self.shape = (states.length, states.rows.width)
        self.colours = _colours(self.shape)
        bonds = 2 if self.shape[1] == 1 else 4
        # What one site sees beside the two bonds that `draw_sites` has.
        extra = (bonds - 2) * stiffness

        def potential_and_bonds(x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
            return potential(x) + extra * x * x

        low, high = support(potential_and_bonds, stiffness, int(np.prod(self.shape)))
        spacing = resolution(potential_and_bonds, stiffness, low, high)
        self._x = uniform_grid(low, high, spacing / 2)
        floor = float(np.min(potential_and_bonds(self._x)))
        self._potential = lambda x: potential_and_bonds(x) - floor
        x, nodes = self._x, states.nodes
        f = np.linspace(bonds * low, bonds * high, 2001)
        own = 2 * stiffness
        log_i = np.log(x[1] - x[0]) + _log_sum(
            -self._potential(x) - own * x**2 + 2 * stiffness * np.outer(f, x)
        )
        log_q = _log_sum(
            nodes.log_w
            - self._potential(nodes.x)
            - own * nodes.x**2
            + 2 * stiffness * np.outer(f, nodes.x)
        )
        self._log_ratio = CubicSpline(f, log_i - log_q)
        self._first = np.cumsum(states.density)

    def weighted(self, rng: np.random.Generator, n: int) -> Drawn:
        """n configurations with their weights w = e^{log_w}."""
        x = self.states.nodes.x
        phi = x[self._on_nodes(rng, n)]
        log_w = np.zeros(n)
        for colour in self.colours:
            fields = self._neighbours(phi)[:, colour]
            log_w += self._log_ratio(fields).sum(axis=1)
            phi[:, colour] = draw_sites(rng, fields, self._x, self._potential, self._stiffness)
        return Drawn(phi, log_w)

    @cached_property
    def largest(self) -> float:
        """ln of the weight above which a draw counts as one of this weight.

        The largest of a few hundred: what is above is rare, and above by little.
        """
        return float(self.weighted(np.random.default_rng(0), _PILOT).log_w.max())

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "{n} L W"]:
        """n independent configurations."""
        kept: list[np.ndarray] = []
        missing = n
        while missing:
            drawn = self.weighted(rng, missing)
            accept = np.log(rng.random(missing)) < drawn.log_w - self.largest
            kept.append(drawn.phi[accept])
            missing -= int(accept.sum())
        return np.concatenate(kept)

    def _neighbours(self, phi: Float[np.ndarray, "n L W"]) -> Float[np.ndarray, "n L W"]:
        axes = (1,) if self.shape[1] == 1 else (1, 2)
        return np.sum([np.roll(phi, step, axis) for axis in axes for step in (1, -1)], axis=0)

    def _on_nodes(self, rng: np.random.Generator, n: int) -> Int[np.ndarray, "{n} L W"]:
        """Nodes of every site."""
        length, rows = self.shape[0], self.states.rows
        found = np.empty((n, length), dtype=np.intp)
        found[:, 0] = _choose(self._first, rng.random(n))
        half = length // 2
        for start in np.unique(found[:, 0]).tolist():
            ahead = [rows.column(start)]  # T, T², … of row 0
            while len(ahead) < length - half:
                ahead.append(rows.apply(ahead[-1] / ahead[-1].max()))
            which = np.flatnonzero(found[:, 0] == start)
            middle = np.cumsum(ahead[half - 1] * ahead[length - half - 1])
            found[which, half] = _choose(middle, rng.random(len(which)))
            for draw in which:
                for path in (range(half - 1, 0, -1), range(half + 1, length)):
                    here = int(found[draw, half])
                    for row in path:
                        left = min(row, length - row) - 1
                        weight = np.cumsum(rows.column(here) * ahead[left])
                        here = int(_choose(weight, rng.random(1))[0])
                        found[draw, row] = here
        return np.stack(np.unravel_index(found, rows.shape), axis=-1)


def _choose(cumulative: Float[np.ndarray, " k"], uniforms: Float[np.ndarray, " n"]) -> np.ndarray:
    """Indices with probabilities whose cumulative sums, not normalised, are given."""
    found = np.searchsorted(cumulative, cumulative[-1] * uniforms, side="right")
    return np.minimum(found, len(cumulative) - 1)


def _log_sum(exponents: Float[np.ndarray, "f x"]) -> Float[np.ndarray, " f"]:
    top = exponents.max(axis=1)
    return top + np.log(np.exp(exponents - top[:, None]).sum(axis=1))


def _colours(shape: tuple[int, int]) -> list[np.ndarray]:
    """Sets of sites, as masks, so that no bond joins two of a set; few sets."""
    colour = np.full(shape, -1)
    for site in np.ndindex(*shape):
        near = {
            int(colour[tuple((np.array(site) + step) % shape)])
            for step in ((1, 0), (-1, 0), (0, 1), (0, -1))
        }
        colour[site] = min(set(range(5)) - near)
    return [colour == c for c in range(colour.max() + 1)]
