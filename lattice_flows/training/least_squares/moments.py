"""Means and covariances of the rows of the least squares, over walkers of p_t.

At a time t and couplings the residual of the deformation equation is

    E = ∂_t f + Σ_i θ_i r_i + Σ_k c_k (bend_k)' Σφ² + C,        r_i = ⟨∇f, v_i⟩ - ∇·v_i,

C free. Its variance over walkers of p_t is a quadratic form in (θ, c), of the covariances of r_i
and Σφ² with one another and with ∂_t f. Rows are in the precision of the walkers, covariances in
double.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows.fields.linear import Features, batch
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import MassivePath
from lattice_flows.runs.compiling import compiled
from theories.shapes import Array, Configuration, Configurations, Point, Scalar


@dataclass(frozen=True)
class Moments:
    """Of the rows, Σφ² the last of them, at one node, about their means.

    covariance: of the rows. with_rate: theirs with ∂_t f. rate: its variance. mean, mean_rate: the
    means.
    """

    covariance: Float[np.ndarray, "P P"]
    with_rate: Float[np.ndarray, " P"]
    rate: float
    mean: Float[np.ndarray, " P"]
    mean_rate: float

    def variance(self, theta: Float[np.ndarray, " P"]) -> float:
        """Of the residual."""
        found = self.rate + 2 * theta @ self.with_rate + theta @ self.covariance @ theta
        return max(float(found), 0.0)

    def constant(self, theta: Float[np.ndarray, " P"]) -> float:
        """C, that of log Z_t: minus the mean of the rest."""
        return -float(self.mean_rate + theta @ self.mean)


class Rows:
    """The rows of some features along a path, compiled once."""

    def __init__(self, path: MassivePath, features: Features) -> None:
        self._path, self._features = path, features
        self._compiled = compiled(self._of_some)

    def moments(
        self,
        params: Params,
        squash: Array,
        t: np.floating,
        couplings: Point,
        phi: Float[np.ndarray, " n *shape"],
    ) -> Moments:
        """Over the walkers `phi` of p_t."""
        found = [self._compiled(params, squash, t, couplings, some) for some in _some(phi)]
        table = np.concatenate([np.asarray(some, np.float64) for some in found])
        return _moments(table[:, :-1], table[:, -1])

    def _of_some(
        self, params: Params, squash: Array, t: Scalar, couplings: Point, phi: Configurations
    ) -> Float[Array, "n columns"]:
        """The rows, Σφ², and ∂_t f."""
        t = jnp.asarray(t, phi.dtype)

        def one(x: Configuration) -> Array:
            force = jax.grad(self._path.energy, argnums=2)(params, t, x, couplings)
            rows = self._features.rows(squash, x, force)
            last = jnp.stack([jnp.sum(x**2), self._path.rate(params, t, x, couplings)])
            return jnp.concatenate([rows, last])

        return jax.vmap(one)(phi)


def _some(phi: Float[np.ndarray, " n *shape"]) -> Iterator[np.ndarray]:
    """All of them, some at a time."""
    size = batch(int(np.prod(phi.shape[1:])))
    for first in range(0, len(phi), size):
        yield phi[first : first + size]


def _moments(rows: np.ndarray, rate: np.ndarray) -> Moments:
    mean, mean_rate = rows.mean(axis=0), float(rate.mean())
    rows, rate = rows - mean, rate - mean_rate
    n = len(rows)
    return Moments(rows.T @ rows / n, rows.T @ rate / n, float(rate @ rate / n), mean, mean_rate)
