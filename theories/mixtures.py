"""Mixtures of Gaussians in the plane, at an inverse temperature β.

    S(x) = -β log p(x),    p(x) = Σ_k w_k N(x; μ_k, s² 1),    Σ_k w_k = 1

so that log Z = 0 at β = 1. The modes are told apart by the responsibilities
r_k(x) = w_k N(x; μ_k, s² 1) / p(x), whose mean under p is w_k.

At other β exact answers are sums over a grid, on which p is a product of two matrices. Exact draws
are accepted, out of those of a mixture of Gaussians of variance s²/min(β, 1), by the bounds

    p^β ≤ Σ_k (w_k N_k)^β                        for β ≤ 1,
    p^β ≤ p · (max_j Σ_k w_k N_k(μ_k + (μ_j - μ_k)/2))^{β-1}     for β ≥ 1:

where μ_j is the mean nearest to x, every other one is at least |μ_j - μ_k|/2 away from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from .errors import LatticeFlowsError
from .theory import ExactAnswers, Theory

# Where the sums over the grid are good to 1e-8 and the bounds accept enough.
_EXACT_BETAS = (0.1, 4.0)
# Points left out have probability below e^{-40} of the highest.
_LOG_TAIL = 40.0


class MixtureCouplings(NamedTuple):
    """beta: the inverse temperature β > 0."""

    beta: float = 1.0


@dataclass(frozen=True)
class GaussianMixture(Theory):
    """A mixture of K Gaussians; a subclass fixes which. The formula is at the head of this module.

    means: (K, 2) the μ_k. weights: (K,) the w_k, which sum to 1. deviation: s.
    """

    shape: tuple[int, ...] = (2,)

    Couplings: ClassVar[Any] = MixtureCouplings
    even: ClassVar[bool] = False
    positive: ClassVar[tuple[str, ...]] = ("beta",)
    own_shape: ClassVar[tuple[int, ...] | None] = (2,)

    means: ClassVar[np.ndarray]
    weights: ClassVar[np.ndarray]
    deviation: ClassVar[float] = 1.0

    def action(self, phi: jax.Array, couplings) -> jax.Array:
        phi, couplings = self.checked(phi, couplings)
        return -couplings.beta * self.log_density(phi)

    def log_density(self, x: jax.Array, shrink: Any = 1.0, variance: Any = None) -> jax.Array:
        """log Σ_k w_k N(x; shrink μ_k, variance 1) of one point (2,), a scalar.

        log p itself by default (variance s²). Differentiable in all arguments.
        """
        variance = jnp.asarray(self.deviation**2 if variance is None else variance, x.dtype)
        away = x[None] - shrink * jnp.asarray(self.means, x.dtype)
        log_terms = jnp.asarray(np.log(self.weights), x.dtype) - jnp.sum(away**2, 1) / 2 / variance
        return jax.nn.logsumexp(log_terms) - jnp.log(2 * jnp.pi * variance)

    def exact(self, couplings) -> ExactAnswers | None:
        """Closed forms at β = 1, sums over a grid for β in [0.1, 4]; None elsewhere."""
        low, high = _EXACT_BETAS
        return MixtureAnswers(self, couplings) if low <= float(couplings.beta) <= high else None

    @property
    def mode_names(self) -> tuple[str, ...]:
        return tuple(f"mode_{k}" for k in range(1, len(self.weights) + 1))

    def modes(self, phi: np.ndarray) -> np.ndarray:
        """The responsibilities r_k of each point (n, 2): (n, K), whose rows sum to 1."""
        return softmax(self._log_terms(np.asarray(phi, np.float64)), axis=1)

    def mode_centres(self, couplings) -> np.ndarray:
        return self.means

    def _log_terms(self, x: np.ndarray) -> np.ndarray:
        """log of w_k e^{-|x-μ_k|²/2s²} at each point (n, 2): (n, K)."""
        away = x[:, None] - self.means
        return np.log(self.weights) - np.sum(away**2, axis=2) / (2 * self.deviation**2)


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

    def observables(self) -> dict[str, float]:
        """Exact values by name: mean, second_moment, the weight of each mode, log_z."""
        return dict(self._observables)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """n independent exact draws, (n, 2) float64."""
        theory, flat = self.theory, min(self.beta, 1.0)
        weights = theory.weights**flat / np.sum(theory.weights**flat)
        halves = [theory._log_terms((mean + theory.means) / 2) for mean in theory.means]
        log_bound = max(np.logaddexp.reduce(np.diagonal(terms)) for terms in halves)
        drawn = np.empty((0, 2))
        while len(drawn) < n:
            tried = max(2 * (n - len(drawn)), 1024)
            noise = theory.deviation / np.sqrt(flat) * rng.normal(size=(tried, 2))
            x = theory.means[rng.choice(len(weights), tried, p=weights)] + noise
            log_terms = theory._log_terms(x)
            log_accept = self.beta * np.logaddexp.reduce(log_terms, axis=1)
            log_accept -= np.logaddexp.reduce(flat * log_terms, axis=1)
            log_accept -= (self.beta - flat) * log_bound
            drawn = np.concatenate([drawn, x[-rng.exponential(size=tried) <= log_accept]])
        return drawn[:n]

    def _closed_form(self) -> tuple[float, float, float, np.ndarray]:
        weights, means = self.theory.weights, self.theory.means
        mean = float(np.mean(weights @ means))
        second = float(self.theory.deviation**2 + np.mean(weights @ means**2))
        return 0.0, mean, second, weights

    def _quadrature(self) -> tuple[float, float, float, np.ndarray]:
        """log Z, the two moments and the mean responsibilities, by the trapezoid rule."""
        theory, beta = self.theory, self.beta
        reach = theory.deviation * np.sqrt(2 * _LOG_TAIL / beta)
        spacing = theory.deviation / (8 * np.sqrt(max(beta, 1)))
        axes, factors = [], []
        for means in theory.means.T:
            x = np.arange(means.min() - reach, means.max() + reach, spacing)
            axes.append(x)
            away = (x[:, None] - means) / theory.deviation
            factors.append(np.exp(-(away**2) / 2) / (np.sqrt(2 * np.pi) * theory.deviation))
        first, second = factors[0] * theory.weights, factors[1]
        density = np.maximum(first @ second.T, np.finfo(float).tiny)
        power = density**beta
        total = power.sum()
        marginals = power.sum(axis=1) / total, power.sum(axis=0) / total
        moments = [
            np.mean([marginal @ x**order for marginal, x in zip(marginals, axes, strict=True)])
            for order in (1, 2)
        ]
        shares = np.sum(first * ((power / density) @ second), axis=0) / total
        log_z = float(np.log(total) + 2 * np.log(spacing))
        return log_z, float(moments[0]), float(moments[1]), shares


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
