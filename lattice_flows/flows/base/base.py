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
from jaxtyping import Float

from theories import Theory
from theories.shapes import Array, Configuration, Configurations, Point, Scalar


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

    def guesses(self, couplings: Point) -> list[Any]:
        """Where a fit may begin; `couplings` are typical ones. None where nothing is fitted."""
        return []

    @abstractmethod
    def energy(self, params: Any, phi: Configuration, couplings: Point) -> Scalar:
        """-log q₀ of one configuration up to a term that does not depend on it."""

    @abstractmethod
    def log_normalisation(self, params: Any, couplings: Point) -> Scalar:
        """log ∫ e^{-energy} dφ."""

    @abstractmethod
    def sample(self, params: Any, key: jax.Array, couplings: Point) -> Configuration:
        """One configuration, an exact draw, in the precision of the couplings."""

    def log_prob(self, params: Any, phi: Configuration, couplings: Point) -> Scalar:
        """log q₀ of one configuration."""
        return -self.energy(params, phi, couplings) - self.log_normalisation(params, couplings)

    def log_prob_tangents(
        self,
        params: Any,
        phi: Configurations,
        couplings: Point,
        d_phi: Float[Array, " k n *shape"],
        d_couplings: Point,
    ) -> tuple[Float[Array, " n"], Float[Array, "k n"]]:
        """log q₀ of configurations, and its derivatives in k directions.

        A direction moves configurations, d_phi, and couplings, d_couplings, with a leading axis
        of k.
        """

        def log_prob(x: Configuration, theta: Point) -> Scalar:
            return self.log_prob(params, x, theta)

        def of_one(x: Configuration, d_x: Float[Array, " k *shape"]) -> Float[Array, " k"]:
            def along(d_x: Configuration, d_theta: Point) -> Scalar:
                return jax.jvp(log_prob, (x, couplings), (d_x, d_theta))[1]

            return jax.vmap(along)(d_x, d_couplings)

        tangents = jax.vmap(of_one, in_axes=(0, 1), out_axes=1)(phi, d_phi)
        return jax.vmap(lambda x: log_prob(x, couplings))(phi), tangents

    def score(
        self, params: Any, phi: Configurations, couplings: Point
    ) -> tuple[Float[Array, " n"], Configurations]:
        """log q₀ of configurations, and its gradients."""
        return jax.vmap(jax.value_and_grad(lambda x: self.log_prob(params, x, couplings)))(phi)

    def draw_with_score(
        self, params: Any, key: jax.Array, couplings: Point, n: int
    ) -> tuple[Configurations, Float[Array, " n"], Configurations]:
        """n draws, log q₀ and its gradients."""
        phi, _ = self.draw(params, key, couplings, n)
        return phi, *self.score(params, phi, couplings)

    def draw(
        self, params: Any, key: jax.Array, couplings: Point, n: int
    ) -> tuple[Configurations, Float[Array, " n"]]:
        """n draws and log q₀ of them."""
        keys = jax.random.split(key, n)
        phi = jax.vmap(lambda k: self.sample(params, k, couplings))(keys)
        return phi, jax.vmap(lambda x: self.log_prob(params, x, couplings))(phi)


# One-site densities e^{-x⁴ - c x² + h x}, in units of λ^{-1/4}. They vary over ≥ 0.1 and have
# vanished at ±5 for any source and curvature that a base is given, so that the trapezoid rule on
# this grid is exact to rounding: its error falls like e^{-2π²(width/spacing)²}.
_GRID_END, _GRID_POINTS = 5.0, 129


def site_grid(dtype: Any) -> tuple[Float[Array, " points"], float]:
    """Points and spacing of the grid for one-site densities."""
    spacing = 2 * _GRID_END / (_GRID_POINTS - 1)
    return jnp.linspace(-_GRID_END, _GRID_END, _GRID_POINTS, dtype=dtype), spacing


def site_exponent(
    x: Float[Array, " points"], curvature: Scalar, source: Scalar
) -> Float[Array, " points"]:
    """-x⁴ - c x² + h x."""
    return -(x**4) - curvature * x**2 + source * x


def log_site_integral(curvature: Scalar, source: Scalar) -> Scalar:
    """log ∫ e^{-x⁴ - c x² + h x} dx."""
    grid, spacing = site_grid(jnp.result_type(curvature))
    return jax.nn.logsumexp(site_exponent(grid, curvature, source)) + jnp.log(
        jnp.asarray(spacing, grid.dtype)
    )


def sample_sites(
    key: jax.Array, shape: tuple[int, ...], curvature: Scalar, source: Scalar
) -> Configuration:
    """Independent exact draws from e^{-x⁴ - c x² + h x}, an array of `shape`.

    A grid with a uniformly random offset is laid under the density, and one of its points is drawn
    with the density's values as weights: since their sum is the same for every offset (to rounding,
    by the trapezoid rule), the drawn point has exactly the continuous density.
    """
    grid, spacing = site_grid(jnp.result_type(curvature))
    offset_key, point_key = jax.random.split(key)

    def draw(offset_key: jax.Array, point_key: jax.Array) -> Scalar:
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
