"""The contract of a base density q₀, and the shifted-grid sampler that the site-wise ones share.

A base is simple: its draws are exact and independent, and its density is known with its
normalisation. Like everything downstream of the theory it takes the couplings as data, so that one
base serves a range of them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from theories import Theory


@dataclass(frozen=True)
class Base(ABC):
    """A normalised density on configurations of `theory`, conditioned on its couplings.

    `params` is a pytree; most bases have none, `()`. even: q₀(-φ) = q₀(φ). scale: the typical size
    of a component.
    """

    theory: Theory

    even: ClassVar[bool] = True

    @property
    def scale(self) -> float:
        return 1.0

    def init(self) -> Any:
        """Parameters to begin with; `()` for a base without any."""
        return ()

    def guesses(self, couplings: Any) -> list[Any]:
        """Where a fit may begin; `couplings` are typical ones. None where nothing is fitted."""
        return []

    @abstractmethod
    def energy(self, params: Any, phi: jax.Array, couplings: Any) -> jax.Array:
        """-log q₀ of one configuration up to a term that does not depend on it; a scalar."""

    @abstractmethod
    def log_normalisation(self, params: Any, couplings: Any) -> jax.Array:
        """log ∫ e^{-energy} dφ, a scalar."""

    @abstractmethod
    def sample(self, params: Any, key: jax.Array, couplings: Any) -> jax.Array:
        """One configuration, an exact draw, in the precision of the couplings."""

    def log_prob(self, params: Any, phi: jax.Array, couplings: Any) -> jax.Array:
        """log q₀ of one configuration, a scalar."""
        return -self.energy(params, phi, couplings) - self.log_normalisation(params, couplings)

    def log_prob_tangents(
        self, params: Any, phi: jax.Array, couplings: Any, d_phi: jax.Array, d_couplings: Any
    ) -> tuple[jax.Array, jax.Array]:
        """log q₀ of configurations (n, *shape), (n,), and its derivatives in k directions, (k, n).

        A direction moves configurations, d_phi (k, n, *shape), and couplings, d_couplings with a
        leading axis of k.
        """

        def log_prob(x: jax.Array, theta: Any) -> jax.Array:
            return self.log_prob(params, x, theta)

        def of_one(x: jax.Array, d_x: jax.Array) -> jax.Array:
            def along(d_x: jax.Array, d_theta: Any) -> jax.Array:
                return jax.jvp(log_prob, (x, couplings), (d_x, d_theta))[1]

            return jax.vmap(along)(d_x, d_couplings)

        tangents = jax.vmap(of_one, in_axes=(0, 1), out_axes=1)(phi, d_phi)
        return jax.vmap(lambda x: log_prob(x, couplings))(phi), tangents

    def score(self, params: Any, phi: jax.Array, couplings: Any) -> tuple[jax.Array, jax.Array]:
        """log q₀ (n,) of configurations (n, *shape), and its gradients, (n, *shape)."""
        return jax.vmap(jax.value_and_grad(lambda x: self.log_prob(params, x, couplings)))(phi)

    def draw_with_score(
        self, params: Any, key: jax.Array, couplings: Any, n: int
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """n draws (n, *shape), log q₀ (n,) and its gradients (n, *shape)."""
        phi, _ = self.draw(params, key, couplings, n)
        return phi, *self.score(params, phi, couplings)

    def draw(
        self, params: Any, key: jax.Array, couplings: Any, n: int
    ) -> tuple[jax.Array, jax.Array]:
        """n draws (n, *shape) and log q₀ of them (n,)."""
        keys = jax.random.split(key, n)
        phi = jax.vmap(lambda k: self.sample(params, k, couplings))(keys)
        return phi, jax.vmap(lambda x: self.log_prob(params, x, couplings))(phi)


# One-site densities e^{-x⁴ - c x² + h x}, in units of λ^{-1/4}. They vary over ≥ 0.1 and have
# vanished at ±5 for any source and curvature that a base is given, so that the trapezoid rule on
# this grid is exact to rounding: its error falls like e^{-2π²(width/spacing)²}.
_GRID_END, _GRID_POINTS = 5.0, 129


def site_grid(dtype: Any) -> tuple[jax.Array, float]:
    """Points and spacing of the grid for one-site densities."""
    spacing = 2 * _GRID_END / (_GRID_POINTS - 1)
    return jnp.linspace(-_GRID_END, _GRID_END, _GRID_POINTS, dtype=dtype), spacing


def site_exponent(x: jax.Array, curvature: jax.Array, source: jax.Array) -> jax.Array:
    """-x⁴ - c x² + h x."""
    return -(x**4) - curvature * x**2 + source * x


def log_site_integral(curvature: jax.Array, source: jax.Array) -> jax.Array:
    """log ∫ e^{-x⁴ - c x² + h x} dx, a scalar."""
    grid, spacing = site_grid(jnp.result_type(curvature))
    return jax.nn.logsumexp(site_exponent(grid, curvature, source)) + jnp.log(
        jnp.asarray(spacing, grid.dtype)
    )


def sample_sites(
    key: jax.Array, shape: tuple[int, ...], curvature: jax.Array, source: jax.Array
) -> jax.Array:
    """Independent exact draws from e^{-x⁴ - c x² + h x}, an array of `shape`.

    A grid with a uniformly random offset is laid under the density, and one of its points is drawn
    with the density's values as weights: since their sum is the same for every offset (to rounding,
    by the trapezoid rule), the drawn point has exactly the continuous density.
    """
    grid, spacing = site_grid(jnp.result_type(curvature))
    offset_key, point_key = jax.random.split(key)

    def draw(offset_key: jax.Array, point_key: jax.Array) -> jax.Array:
        points = grid + spacing * jax.random.uniform(offset_key, (), grid.dtype)
        exponent = site_exponent(points, curvature, source)
        cumulative = jnp.cumsum(jnp.exp(exponent - jnp.max(exponent)))
        level = jax.random.uniform(point_key, (), grid.dtype) * cumulative[-1]
        return points[jnp.searchsorted(cumulative, level, side="right")]

    sites = 1
    for side in shape:
        sites *= side
    draws = jax.vmap(draw)(jax.random.split(offset_key, sites), jax.random.split(point_key, sites))
    return draws.reshape(shape)
