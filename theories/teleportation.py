"""The teleportation example of arXiv:2410.03282: a path of densities that no flow can follow.

Chemseddine, Wald, Duong & Steidl; in one dimension, with a distance m > 0 of the wells,

    p₀ ∝ e^{-|x|},      p₁ ∝ e^{-2 min(|x|, |x - m|)},      p_t ∝ e^{-f_t},
    f_t = (1-t)|x| + 2t min(|x|, |x - m|).

The linear path moves mass from the well at 0 to the well at m through a barrier where there is
next to nothing of it: the one velocity that carries p_t along is v_t = -∂_t F_t / p_t, with F_t the
distribution function, and ‖v_t‖² in L²(p_t) grows like e^{m}. Everything here is in closed form but
that norm before t = 1: with L and R the unnormalised masses to the left and right of x,

    v_t(x) = -e^{f_t} LR/(L + R) ∂_t (log L - log R).

float64 is needed (`jax_enable_x64`).
"""

from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from .errors import LatticeFlowsError

_TAIL = 80.0  # beyond the wells by this, p_t is e^{-80} of its height or less


@dataclass(frozen=True)
class Teleportation:
    """The path between the two densities for wells at 0 and at `m` > 0.

    Times are scalars in [0, 1]; positions are arrays of any shape.
    """

    m: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.m) and self.m > 0):
            raise LatticeFlowsError(f"m must be a positive distance, got {self.m}")

    def energy(self, t, x) -> jax.Array:
        """f_t(x)."""
        x = jnp.asarray(x)
        return (1 - t) * jnp.abs(x) + 2 * t * jnp.minimum(jnp.abs(x), jnp.abs(x - self.m))

    def log_z(self, t) -> jax.Array:
        """log ∫ e^{-f_t} dx."""
        left, right = self._log_masses(t, jnp.asarray(0.5 * self.m))
        return jnp.logaddexp(left, right)

    def density(self, t, x) -> jax.Array:
        """p_t(x)."""
        return jnp.exp(-self.energy(t, x) - self.log_z(t))

    def distribution(self, t, x) -> jax.Array:
        """F_t(x), the mass of p_t to the left of x."""
        left, right = self._log_masses(t, jnp.asarray(x))
        return jax.nn.sigmoid(left - right)

    def velocity(self, t, x) -> jax.Array:
        """v_t(x), the velocity that carries p_t along."""
        t, x = jnp.asarray(t, jnp.float64), jnp.asarray(x, jnp.float64)
        (left, right), (left_rate, right_rate) = jax.jvp(
            lambda s: self._log_masses(s, x), (t,), (jnp.ones_like(t),)
        )
        log_factor = self.energy(t, x) + left + right - jnp.logaddexp(left, right)
        return -jnp.exp(log_factor) * (left_rate - right_rate)

    def squared_norm(self, t) -> jax.Array:
        """‖v_t‖² in L²(p_t), by quadrature between the corners of f_t."""
        edges = (-_TAIL, 0.0, 0.5 * self.m, self.m, self.m + _TAIL)
        pieces = [_gauss_legendre(*ends) for ends in pairwise(edges)]
        x, weights = (np.concatenate(part) for part in zip(*pieces, strict=True))
        return jnp.sum(weights * self.velocity(t, x) ** 2 * self.density(t, x))

    def final_squared_norm(self) -> float:
        """‖v_1‖² in closed form; (m²/8) e^m (1 - 1/m + O(1/m²)) for wells far apart.

        With g = -Z p v the norm is (1/Z) ∫ g² e^f, and from the tails inwards, y ≥ 0 the distance
        from the nearer well, g is

            e^{-2y}(a - y/2)                 and  -e^{-2y}(b - y/2)                   outside,
            2a - e^{-2y}(a - y/2)            and  -2b + 1/2 + e^{-2y}(b - (1+3y)/2)   inside,

        on the side of 0 and of m; that both meet at m/2 determines a, and b = a + m/2.
        """
        m, half, u = self.m, 0.5 * self.m, np.exp(-self.m)
        a = (0.5 - m - 0.5 * u * (1 + m)) / (4 - 2 * u)
        b = a + half
        c, d = b - 0.25, b - 0.5
        # ∫ y^k e^{-2y} dy from 0 to m/2, and ∫ e^{2y} dy
        i0, i1 = 0.5 * (1 - u), 0.25 - u * (0.5 * half + 0.25)
        i2 = 0.25 - u * (0.5 * half**2 + 0.5 * half + 0.25)
        growth = 0.5 * np.expm1(m)
        outside = sum(0.5 * s * s - 0.25 * s + 0.0625 for s in (a, b))
        near = 4 * a * a * growth - 4 * a * (a * half - 0.25 * half**2)
        near += a * a * i0 - a * i1 + 0.25 * i2
        far = 4 * c * c * growth - 4 * c * (d * half - 0.75 * half**2)
        far += d * d * i0 - 3 * d * i1 + 2.25 * i2
        return float((outside + near + far) / (2 - u))

    def _log_masses(self, t, x) -> tuple[jax.Array, jax.Array]:
        """log ∫_{-∞}^x e^{-f_t} and log ∫_x^∞ e^{-f_t}, as sums over the four straight pieces."""
        m, half = self.m, 0.5 * self.m
        slopes = (-(1 + t), 1 + t, 1 - 3 * t, 1 + t)  # of f_t
        middle = jnp.clip(x, 0.0, half), jnp.clip(x, half, m)  # x within the inner pieces
        left = (
            _log_mass(-self.energy(t, jnp.minimum(x, 0.0)), 1 + t, jnp.inf),
            _log_mass(-self.energy(t, 0.0), slopes[1], middle[0]),
            _log_mass(-self.energy(t, half), slopes[2], middle[1] - half),
            _log_mass(-self.energy(t, m), slopes[3], jnp.maximum(x - m, 0.0)),
        )
        right = (
            _log_mass(-self.energy(t, 0.0), 1 + t, jnp.maximum(-x, 0.0)),
            _log_mass(-self.energy(t, middle[0]), slopes[1], half - middle[0]),
            _log_mass(-self.energy(t, middle[1]), slopes[2], m - middle[1]),
            _log_mass(-self.energy(t, jnp.maximum(x, m)), 1 + t, jnp.inf),
        )
        return _log_sum(left), _log_sum(right)


def _log_mass(log_height, slope, length) -> jax.Array:
    """log ∫_0^length e^{log_height - slope·y} dy; -∞ for an empty piece."""
    if isinstance(length, float):  # to infinity, where the slope is positive
        return log_height - jnp.log(slope)
    z = slope * length
    small = jnp.abs(z) < 1e-5
    safe = jnp.where(small, 1.0, z)
    shape = jnp.where(small, 1 - z / 2 + z * z / 6, -jnp.expm1(-safe) / safe)
    empty = length == 0
    log_length = jnp.log(jnp.where(empty, 1.0, length))
    return jnp.where(empty, -jnp.inf, log_height + log_length + jnp.log(shape))


def _log_sum(parts) -> jax.Array:
    return jax.nn.logsumexp(jnp.stack(jnp.broadcast_arrays(*parts)), axis=0)


def _gauss_legendre(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of ∫ dx over [low, high], 16 to a unit of length or less."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(low, high, int(np.ceil(high - low)) + 1)
    half, centres = 0.5 * np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
    return np.ravel(centres[:, None] + half[:, None] * nodes), np.ravel(half[:, None] * weights)
