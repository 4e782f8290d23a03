"""A field that is linear in its coefficients, with its divergence in closed form.

    V = Σ_j K_j * Σ_m θ_mj(t, couplings) g_m(u),      u_c = ψ_c/√(1 + ψ_c²/s_c²),      ψ_c = S_c * φ

g_m are odd monomials of the channels u: φ, the mean of its neighbours, φ smeared over growing
scales, the mean M of the lattice, each squashed at a scale s that is somewhat above its size; and φ
as it is. M and φ smeared far are squashed far below their size, too: these are about the signs of
the lattice and of domains, of which the field must know between two wells. K_j are kernels
1/(1 + k̂²/m) at several scales. θ are polynomials of t and the couplings, times t. The divergence is

    ∇·V = Σ_mj θ_mj Σ_c (K_j * S_c)(0) Σ_x ∂g_m/∂ψ_c (x).

The field commutes with translations, the point group and φ → -φ. The deformation equation of such a
field is linear in θ: its best coefficients are those of one least-squares problem, whose rows are
⟨∇f, v⟩ - ∇·v of each v = K_j * g_m (training/least_squares/).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows import chebyshev
from lattice_flows.flows.base.massive import least_mass
from lattice_flows.flows.fields.field import Field
from lattice_flows.flows.ranges import Ranges
from theories import LatticeTheory
from theories.lattice import hartley, laplacian_eigenvalues
from theories.shapes import Array, Configuration, Point, Scalar

SIZES = ("small", "medium", "rich")
TIME_DEGREE = 5
_SITES = 1 << 14
_WIDE, _NARROW = 1.6, 0.3
_NEAR = 2  # kernels of monomials of many channels

Monomial = tuple[int, ...]
"""Its exponents, channel by channel."""


@dataclass(frozen=True)
class Features:
    """The v = K_j * g_m of a lattice.

    channels: S_c, the first of which is not squashed. widths: s_c over the size of ψ_c.
    kernels: K_j. monomials: the exponents. pairs: which (m, j) there are, as
    m·(number of kernels) + j.
    """

    shape: tuple[int, ...]
    channels: Float[np.ndarray, " C *shape"]
    widths: Float[np.ndarray, " C"]
    kernels: Float[np.ndarray, " J *shape"]
    monomials: tuple[Monomial, ...]
    pairs: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    def smeared(self, phi: Configuration) -> Float[Array, " C *shape"]:
        """ψ_c."""
        modes = hartley(phi)
        return jnp.stack([hartley(jnp.asarray(s, phi.dtype) * modes) for s in self.channels])

    def velocity(
        self, theta: Float[Array, " pairs"], squash: Float[Array, " C"], phi: Configuration
    ) -> tuple[Configuration, Scalar]:
        """Σ θ v, and its divergence."""
        g, slopes = self._monomials(squash, phi)
        table = self._table(theta)
        modes = jax.vmap(hartley)(jnp.tensordot(table.T, g, 1))
        velocity = hartley(jnp.sum(jnp.asarray(self.kernels, phi.dtype) * modes, axis=0))
        origins = jnp.asarray(self._origins, phi.dtype)
        return velocity, jnp.sum((table @ origins) * slopes)

    def rows(
        self, squash: Float[Array, " C"], phi: Configuration, force: Configuration
    ) -> Float[Array, " pairs"]:
        """⟨∇f, v⟩ - ∇·v of every v; `force` is ∇f."""
        g, slopes = self._monomials(squash, phi)
        pulled = jnp.asarray(self.kernels, phi.dtype) * hartley(force)[None]
        axes = tuple(range(1, g.ndim))
        rows = jnp.tensordot(jax.vmap(hartley)(g), pulled, (axes, axes))
        rows = rows - slopes @ jnp.asarray(self._origins.T, phi.dtype)
        return rows.reshape(-1)[self.pairs]

    @property
    def _origins(self) -> Float[np.ndarray, "J C"]:
        """(K_j * S_c)(0)."""
        axes = tuple(range(2, 2 + len(self.shape)))
        return np.mean(self.kernels[:, None] * self.channels, axis=axes)

    def _table(self, theta: Float[Array, " pairs"]) -> Float[Array, "M J"]:
        size = len(self.monomials), len(self.kernels)
        return jnp.zeros(size[0] * size[1], theta.dtype).at[self.pairs].set(theta).reshape(size)

    def _monomials(
        self, squash: Float[Array, " C"], phi: Configuration
    ) -> tuple[Float[Array, " M *shape"], Float[Array, "M C"]]:
        """g_m, and Σ_x ∂g_m/∂ψ_c."""
        psi = self.smeared(phi)
        wide = squash.reshape(-1, *(1,) * phi.ndim)
        root = jax.lax.rsqrt(1 + (psi / wide) ** 2).at[0].set(1.0)
        u, slope = psi * root, root**3
        exponents, lower, below = self._lower
        known = {(0,) * len(u): jnp.ones_like(phi)}

        def g(monomial: Monomial) -> Configuration:
            if monomial not in known:
                c = max(i for i, p in enumerate(monomial) if p)
                known[monomial] = u[c] * g(_less(monomial, c))
            return known[monomial]

        axes = tuple(range(1, psi.ndim))
        sums = jnp.tensordot(jnp.stack([g(m) for m in lower]), slope, (axes, axes))
        slopes = jnp.asarray(exponents, phi.dtype) * sums[below, np.arange(len(u))]
        return jnp.stack([g(m) for m in self.monomials]), slopes

    @property
    def _lower(self) -> tuple[np.ndarray, list[Monomial], np.ndarray]:
        """The exponents (M, C); the monomials of one order less; which of these m/u_c is (M, C)."""
        lower = {_less(m, c): 0 for m in self.monomials for c, p in enumerate(m) if p}
        number = {monomial: i for i, monomial in enumerate(lower)}
        below = [[number[_less(m, c)] if p else 0 for c, p in enumerate(m)] for m in self.monomials]
        return np.array(self.monomials), list(lower), np.array(below)


def _less(monomial: Monomial, c: int) -> Monomial:
    """The monomial without one factor u_c."""
    return (*monomial[:c], monomial[c] - 1, *monomial[c + 1 :])


@lru_cache(maxsize=8)
def features(shape: tuple[int, ...], size: str = "rich") -> Features:
    """Those of a lattice; `size` is one of SIZES."""
    momenta, least = laplacian_eigenvalues(shape), least_mass(shape)
    one = np.ones(shape)

    def smeared(mass: float) -> Float[np.ndarray, "*shape"]:
        return 1 / (1 + momenta / mass)

    far = [smeared(4 * least)] if 4 * least < 0.2 else []
    local = [one, 1 - momenta / (2 * len(shape)), smeared(1.0), smeared(0.3), *far]
    local = local[: {"small": 2, "medium": 3, "rich": 9}[size]]
    mean = [] if size == "small" else [(momenta == 0) * 1.0]
    signs = [*mean, smeared(least), smeared(4 * least)] if size == "rich" else []
    masses = {1.0, 4.0, least, 4 * least, *([16 * least] if 16 * least < 0.5 else [])}
    kernels = [one, *(smeared(mass) for mass in sorted(masses, key=lambda m: abs(np.log(m))))]
    chosen = _chosen(len(local), len(mean), len(signs), len(kernels))
    pairs = [m * len(kernels) + j for m, count in enumerate(chosen.values()) for j in range(count)]
    channels = [one, *local, *mean, *signs]
    widths = [_WIDE] * (len(channels) - len(signs)) + [_NARROW] * len(signs)
    return Features(
        shape,
        np.array(channels),
        np.array(widths),
        np.array(kernels),
        tuple(chosen),
        np.array(pairs),
    )


def _chosen(local: int, mean: int, signs: int, kernels: int) -> Mapping[Monomial, int]:
    """The monomials, and how many of the kernels each has.

    Of φ as it is, so many local channels, the mean of the lattice, and signs.
    """
    size = 1 + local + mean + signs
    found: dict[Monomial, int] = {}

    def add(count: int, *some: Mapping[int, int]) -> None:
        """Monomials as {channel: exponent}."""
        for one in some:
            found[tuple(one.get(c, 0) for c in range(size))] = count

    add(kernels, {0: 1}, *_products(2, (1, 3, 5, 7)))
    if local > 2:
        add(kernels, *_products(3, (1, 3, 5), last=True))
    if local > 3:
        add(_NEAR, *_products(4, (3, 5), last=True))
    if local > 4:
        add(_NEAR, *_products(5, (3,), last=True))
    if mean:
        m = 1 + local
        add(_NEAR, *({m: q} for q in (1, 3, 5, 7)))
        add(_NEAR, *({1: n - q, m: q} for n in (3, 5) for q in range(1, n)))
        add(_NEAR, *({c: 1, m: 2} for c in range(2, local + 1)))
    for i in range(size - signs, size):
        m = 1 + local
        add(_NEAR, {i: 1}, {i: 3}, {i: 5}, {i: 1, m: 2}, {i: 3, m: 2}, {i: 2, m: 1})
        add(_NEAR, *({1: n - q, i: q} for n in (3, 5) for q in range(1, n)))
        add(_NEAR, {1: 2, i: 1, m: 2}, {1: 1, i: 2, m: 2})
        for c in range(2, local + 1):
            add(_NEAR, {c: 1, i: 2}, {c: 2, i: 1})
        for j in range(i + 1, size):
            add(_NEAR, {i: 1, j: 2}, {i: 2, j: 1}, {1: 1, i: 1, j: 1})
    return found


def _products(channels: int, orders: Iterable[int], last: bool = False) -> list[Mapping[int, int]]:
    """All monomials of these orders of the first local channels; with `last` those with the last
    of these in them."""
    found = [
        Counter(c + 1 for c in some)
        for order in orders
        for some in combinations_with_replacement(range(channels), order)
    ]
    return [one for one in found if one[channels] or not last]


def basis(t: Scalar, couplings: Point, ranges: Ranges) -> Float[Array, " D"]:
    """What the coefficients multiply: polynomials of t and the couplings, times t."""
    times = t * chebyshev.polynomials(2 * t - 1, TIME_DEGREE)
    return jnp.outer(times, chebyshev.of_couplings(couplings, ranges, t.dtype)).reshape(-1)


def batch(sites: int) -> int:
    """Configurations that are worked on at once: the features of more leave a processor's cache."""
    return max(16, min(256, _SITES // sites))


@dataclass(frozen=True)
class LinearField(Field):
    """A field of many features: few configurations at once."""

    at_once: int

    @property
    def batch(self) -> int:
        return self.at_once


def linear(theory: LatticeTheory, ranges: Ranges) -> Field:
    """The field for `theory`; its parameters are `coefficients` (pairs, D) and `squash` (C,)."""
    chosen = features(theory.shape)

    def init(key: jax.Array) -> Any:
        size = len(chosen), (TIME_DEGREE + 1) * len(chebyshev.degrees(ranges))
        return {"coefficients": jnp.zeros(size), "squash": jnp.ones(len(chosen.channels))}

    def apply(
        params: Any, t: Scalar, phi: Configuration, couplings: Point
    ) -> tuple[Configuration, Scalar]:
        theta = params["coefficients"] @ basis(t, couplings, ranges)
        return chosen.velocity(theta, params["squash"], phi)

    return LinearField(init, apply, True, batch(theory.sites))
