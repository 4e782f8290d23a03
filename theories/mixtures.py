"""Mixtures of Gaussians in the plane, at an inverse temperature β.

    S(x) = -β log p(x),    p(x) = Σ_k w_k N(x; μ_k, Σ_k),    Σ_k w_k = 1

so that log Z = 0 at β = 1. The modes are told apart by the responsibilities
r_k(x) = w_k N(x; μ_k, Σ_k) / p(x), whose mean under p is w_k.

At other β exact answers are sums over a grid. Exact draws are accepted, out of those of a mixture
of Gaussians of covariances Σ_k/min(β, 1), by the bounds

    p^β ≤ Σ_k (w_k N_k)^β                        for β ≤ 1,
    p^β ≤ p · (max_j Σ_k max_x √(w_j N_j w_k N_k))^{β-1}     for β ≥ 1:

where w_j N_j is the largest at x, every other w_k N_k is at most √(w_j N_j w_k N_k), and

    max_x √(N_j N_k) = e^{-Δᵀ(Σ_j + Σ_k)⁻¹Δ/4} / 2π(|Σ_j||Σ_k|)^{1/4},    Δ = μ_j - μ_k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from .coupling import Coupling
from .errors import LatticeFlowsError
from .shapes import Array, Configuration, Scalar
from .theory import ExactAnswers, Theory

# Where the sums over the grid are good to 1e-8 and the bounds accept enough.
_EXACT_BETAS = (0.1, 5.0)
# Points left out have probability below e^{-40} of the highest.
_LOG_TAIL = 40.0
_POINTS_A_WIDTH = 4
# What a mean loses in a sum over the grid, against √⟨x²⟩.
_ROUNDING = 1e-12


class MixtureCouplings(NamedTuple):
    """beta: the inverse temperature β > 0."""

    beta: Annotated[
        float,
        Coupling(
            r"\beta",
            "inverse temperature β",
            positive=True,
            logarithmic=True,
            inverse_temperature=True,
        ),
    ] = 1.0


@dataclass(frozen=True)
class GaussianMixture(Theory):
    """A mixture of K Gaussians; a subclass fixes which. The formula is at the head of this module.

    means: the μ_k. weights: the w_k, which sum to 1. covariances: the Σ_k, deviation² 1 unless a
    subclass has others.
    """

    shape: tuple[int, ...] = (2,)

    Couplings: ClassVar[Any] = MixtureCouplings
    even: ClassVar[bool] = False
    own_shape: ClassVar[tuple[int, ...] | None] = (2,)

    means: ClassVar[Float[np.ndarray, "K 2"]]
    weights: ClassVar[Float[np.ndarray, " K"]]
    deviation: ClassVar[float] = 1.0

    @property
    def covariances(self) -> Float[np.ndarray, "K 2 2"]:
        return np.tile(self.deviation**2 * np.eye(2), (len(self.weights), 1, 1))

    def action(self, phi: Configuration, couplings: MixtureCouplings) -> Scalar:
        phi, couplings = self.checked(phi, couplings)
        return -couplings.beta * self.log_density(phi)

    def log_density(
        self, x: Float[Array, " 2"], shrink: Scalar | float = 1.0, widening: Scalar | float = 0.0
    ) -> Scalar:
        """log Σ_k w_k N(x; a μ_k, a² Σ_k + b 1) of one point.

        log p itself by default; a is `shrink`, b `widening`. Differentiable in all arguments.
        """
        import jax
        import jax.numpy as jnp

        means, covariances = (jnp.asarray(y, x.dtype) for y in (self.means, self.covariances))
        widened = shrink**2 * covariances + widening * jnp.eye(2, dtype=x.dtype)[None]
        quadratic, log_det = _quadratic_form(x[None] - shrink * means, widened, jnp)
        log_terms = jnp.asarray(np.log(self.weights), x.dtype) - (quadratic + log_det) / 2
        return jax.nn.logsumexp(log_terms) - float(np.log(2 * np.pi))

    def exact(self, couplings: MixtureCouplings) -> ExactAnswers | None:
        """Closed forms at β = 1, sums over a grid for β in [0.1, 5]; None elsewhere."""
        low, high = _EXACT_BETAS
        return MixtureAnswers(self, couplings) if low <= float(couplings.beta) <= high else None

    @property
    def mode_names(self) -> tuple[str, ...]:
        return tuple(f"mode_{k}" for k in range(1, len(self.weights) + 1))

    def modes(self, phi: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n K"]:
        """The responsibilities r_k of each point, which sum to 1."""
        return _softmax(self._log_terms(np.asarray(phi, np.float64)))

    def mode_centres(self, couplings: MixtureCouplings) -> Float[np.ndarray, "K 2"]:
        return self.means

    def _log_terms(self, x: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n K"]:
        """log of w_k N(x; μ_k, Σ_k) at each point."""
        quadratic, log_det = _quadratic_form(x[:, None] - self.means, self.covariances, np)
        return np.log(self.weights) - (quadratic + log_det) / 2 - np.log(2 * np.pi)


def _softmax(log_terms: np.ndarray) -> np.ndarray:
    """Shares in proportion to e^{log_terms}, along the last axis."""
    from scipy.special import softmax

    return softmax(log_terms, axis=-1)


def _quadratic_form(away: Any, covariances: Any, xp: Any) -> tuple[Any, Any]:
    """yᵀΣ⁻¹y of vectors `away` (…, K, 2), (…, K), and log |Σ|, (K,); xp is numpy or jax.numpy."""
    (a, b), (_, c) = covariances[:, 0].T, covariances[:, 1].T
    x, y = away[..., 0], away[..., 1]
    det = a * c - b**2
    return (c * x**2 - 2 * b * x * y + a * y**2) / det, xp.log(det)


class MixtureAnswers:
    """The exact solution of a mixture at one β; all in float64.

    Raises LatticeFlowsError for invalid couplings and for arrays of them.
    """

    def __init__(self, theory: GaussianMixture, couplings: MixtureCouplings) -> None:
        theory.validate(couplings)
        if np.ndim(couplings.beta):
            raise LatticeFlowsError("exact answers are for one set of couplings, not for arrays")
        self.theory = theory
        self.beta = float(couplings.beta)
        self.log_z, mean, second, shares = (
            self._closed_form() if self.beta == 1 else self._quadrature()
        )
        self._observables = {
            "mean": mean,
            "second_moment": second,
            **dict(zip(theory.mode_names, map(float, shares), strict=True)),
            "log_z": self.log_z,
        }
        rounding = _ROUNDING * np.sqrt(second)
        if self.beta != 1 and abs(mean) < rounding:
            self._observables |= {"mean": float("nan"), "mean_bound": float(rounding)}

    def observables(self) -> dict[str, float]:
        """Exact values by name: mean, second_moment, the weight of each mode, log_z.

        A mean that is lost in rounding errors is NaN, and mean_bound says what it cannot exceed.
        """
        return dict(self._observables)

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "n 2"]:
        """n independent exact draws, float64."""
        theory, flat = self.theory, min(self.beta, 1.0)
        # of (w_k N_k)^flat, a Gaussian of covariance Σ_k/flat
        log_shares = flat * np.log(theory.weights)
        log_shares += (1 - flat) / 2 * np.linalg.slogdet(theory.covariances)[1]
        roots = np.linalg.cholesky(theory.covariances / flat)
        drawn, log_bound = np.empty((0, 2)), self._log_bound()
        while len(drawn) < n:
            tried = max(2 * (n - len(drawn)), 1024)
            chosen = rng.choice(len(log_shares), tried, p=_softmax(log_shares))
            noise = np.einsum("nij,nj->ni", roots[chosen], rng.normal(size=(tried, 2)))
            x = theory.means[chosen] + noise
            log_terms = theory._log_terms(x)
            log_accept = self.beta * np.logaddexp.reduce(log_terms, axis=1)
            log_accept -= np.logaddexp.reduce(flat * log_terms, axis=1)
            log_accept -= (self.beta - flat) * log_bound
            drawn = np.concatenate([drawn, x[-rng.exponential(size=tried) <= log_accept]])
        return drawn[:n]

    def _log_bound(self) -> float:
        """log max_j Σ_k max_x √(w_j N_j w_k N_k), a bound on log p."""
        theory = self.theory
        log_peaks = np.diagonal(theory._log_terms(theory.means))  # of each component alone
        log_half = [
            -_quadratic_form(mean - theory.means, covariance + theory.covariances, np)[0] / 4
            for mean, covariance in zip(theory.means, theory.covariances, strict=True)
        ]
        pairs = np.array(log_half) + (log_peaks[:, None] + log_peaks) / 2
        return float(np.max(np.logaddexp.reduce(pairs, axis=1)))

    def _closed_form(self) -> tuple[float, float, float, np.ndarray]:
        weights, means = self.theory.weights, self.theory.means
        spread = np.trace(weights @ self.theory.covariances.transpose(1, 0, 2)) / 2
        mean = float(np.mean(weights @ means))
        second = float(spread + np.mean(weights @ means**2))
        return 0.0, mean, second, weights

    def _quadrature(self) -> tuple[float, float, float, np.ndarray]:
        """log Z, the two moments and the mean responsibilities, by the trapezoid rule."""
        theory, beta = self.theory, self.beta
        widths = np.linalg.eigvalsh(theory.covariances)
        spacing = np.sqrt(widths.min() / max(beta, 1)) / _POINTS_A_WIDTH
        reach = np.sqrt(2 * _LOG_TAIL / beta * np.diagonal(theory.covariances, axis1=1, axis2=2))
        low, high = (theory.means - reach).min(axis=0), (theory.means + reach).max(axis=0)
        x, y = (np.arange(a, b, spacing) for a, b in zip(low, high, strict=True))
        density = np.full((len(x), len(y)), np.finfo(float).tiny)
        for k in range(len(widths)):
            density += self._component(k, x, y)
        power = density**beta
        total = power.sum()
        marginals = power.sum(axis=1) / total, power.sum(axis=0) / total
        moments = [
            np.mean([m @ at**order for m, at in zip(marginals, (x, y), strict=True)])
            for order in (1, 2)
        ]
        power /= density * total
        shares = [np.sum(power * self._component(k, x, y)) for k in range(len(widths))]
        log_z = float(np.log(total) + 2 * np.log(spacing))
        return log_z, float(moments[0]), float(moments[1]), np.array(shares)

    def _component(self, k: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """w_k N(·; μ_k, Σ_k) on a grid, (len(x), len(y)), a product but for what is oblique."""
        (a, b), (_, c) = self.theory.covariances[k]
        u, v = x - self.theory.means[k, 0], y - self.theory.means[k, 1]
        det = a * c - b * b
        exponent = -0.5 * c / det * u[:, None] ** 2 - 0.5 * a / det * v**2
        if b:
            exponent += b / det * u[:, None] * v
        return self.theory.weights[k] / (2 * np.pi * np.sqrt(det)) * np.exp(exponent)


class FourGaussians(GaussianMixture):
    """¼ Σ N((±8, ±8), 1)."""

    name: ClassVar[str] = "gmm-4"
    references: ClassVar[str] = "Mate & Fleuret, arXiv:2301.07388, eq. (2)"
    means: ClassVar[np.ndarray] = np.array([(8.0, 8.0), (8.0, -8.0), (-8.0, 8.0), (-8.0, -8.0)])
    weights: ClassVar[np.ndarray] = np.full(4, 1 / 4)


class TwoGaussians(GaussianMixture):
    """⅓ N((4, 4), 1) + ⅔ N((-8, -8), 1)."""

    name: ClassVar[str] = "gmm-2"
    references: ClassVar[str] = "Mate & Fleuret, arXiv:2301.07388, eq. (11)"
    means: ClassVar[np.ndarray] = np.array([(4.0, 4.0), (-8.0, -8.0)])
    weights: ClassVar[np.ndarray] = np.array([1 / 3, 2 / 3])


class SixGaussians(GaussianMixture):
    """Six equal Gaussians, narrow and oblique, as in Wahl et al., arXiv:2410.19492.

    Means and covariances are those of the code published with the paper.
    """

    name: ClassVar[str] = "gmm-6"
    references: ClassVar[str] = "Wahl et al., arXiv:2410.19492"
    weights: ClassVar[np.ndarray] = np.full(6, 1 / 6)
    # fmt: off
    means: ClassVar[np.ndarray] = np.array([
        (-1.0, 2.0), (3.0, 7.0), (-4.0, 2.0), (-2.0, -4.0), (0.0, 4.0), (5.0, -2.0)
    ])
    # fmt: on

    @property
    def covariances(self) -> Float[np.ndarray, "K 2 2"]:
        upper = [  # xx, xy, yy
            (0.2778, 0.4797, 0.8615),
            (0.8958, -0.0249, 0.1001),
            (1.3074, 0.9223, 0.7744),
            (0.0305, 0.0142, 0.4409),
            (0.0463, 0.0294, 0.3441),
            (0.15, 0.0294, 1.5),
        ]
        return np.array([((a, b), (b, c)) for a, b, c in upper])


class FortyGaussians(GaussianMixture):
    """Forty equal Gaussians of unit variance, as in Midgley et al., arXiv:2208.01893.

    Their means are uniform in [-40, 40]² and fixed here, numpy.random.default_rng(0).uniform(-40,
    40, (40, 2)) as numpy 2 draws it; also in data/gmm40_means.nc.
    """

    name: ClassVar[str] = "gmm-40"
    references: ClassVar[str] = "after Midgley et al., arXiv:2208.01893"
    weights: ClassVar[np.ndarray] = np.full(40, 1 / 40)
    # fmt: off
    means: ClassVar[np.ndarray] = np.array([
        (10.956934985716344, -18.417062898890375), (-36.72211808510443, -38.67778915771767),
        (25.06161913602179, 33.02044618221774), (8.530862061374393, 18.359724878719874),
        (3.4899993172338313, 34.80579390302145), (25.268284329722576, -39.780919986388156),
        (28.59234212700555, -37.313153975562855), (18.37243571439552, -25.94755035179528),
        (29.05431378799092, 3.316897619927339), (-16.023048757009217, -6.185022304187328),
        (-37.73442630836296, -30.057337880034886), (13.649953175490424, 11.775160925940007),
        (9.230808918500308, -9.305795659049323), (39.776794863136885, 38.46682710209841),
        (14.84335875845558, 12.036742101425304), (15.075738445675206, -8.886286081671699),
        (-29.1922795982071, 17.719067215526536), (2.0283457980580692, -15.180649955283549),
        (-1.1331712934568756, 31.159026747920024), (34.72348127649997, -11.376384263274382),
        (5.722386458380875, -14.250448713924627), (7.54400241597574, -12.967101959429339),
        (-8.670479957747101, 31.22194816038339), (-21.82739251732962, 9.854971574883393),
        (-33.278772513409216, 26.61153181227182), (22.967864599094668, -20.85044456056383),
        (30.118738464856307, -35.31455721558445), (-13.110635156347172, -27.977642648412875),
        (-3.972850668057042, 23.705941622983538), (-21.548623280500205, -35.83829591484723),
        (-7.63585281427774, -24.118956439259573), (-32.739756350470245, 6.426590878948055),
        (-16.104309374486192, 13.75959023650875), (-24.038764482542938, 35.369048840519824),
        (-10.791186540413715, -31.560377634381638), (10.328652123176738, 34.17236424542939),
        (-4.769827622737282, 36.367239495258985), (-0.008334904988238634, -5.981710012073961),
        (9.617076161230223, 39.607720418825934), (35.91549399502122, -3.1963888552723176),
    ])
    # fmt: on
