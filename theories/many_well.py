"""The many-well target: independent pairs, a double well in the one and a Gaussian in the other.

    S(x) = Σ_i [ x_{2i}⁴ - a x_{2i}² - h x_{2i} + ½ x_{2i+1}² ],    i = 0 … d/2 - 1

a is `depth`, h `tilt`. Noé et al., Science 365, eaaw1147 (2019), whose double well it is, with
a = 6 and h = ½; many pairs of it are the benchmark of Midgley et al., arXiv:2208.01893: 2^{d/2}
modes, known Z. h is a spurion: S(-x; -h) = S(x; h).

Everything factorises over the pairs, so exact answers are integrals over one double well, by
Gauss-Legendre on either side of 0; the measure is Π dx.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from .coupling import Coupling
from .errors import LatticeFlowsError
from .quadrature import resolution, support, uniform_grid
from .shapes import Configuration, Scalar
from .theory import ExactAnswers, Theory

_NODES = 200  # of the quadrature on either side
_MOST_CENTRES = 1024
_CHUNK = 2**20  # numbers held in memory at a time


class ManyWellCouplings(NamedTuple):
    """depth: a, of any sign; tilt: h, towards positive x for h > 0."""

    depth: Annotated[float, Coupling("a", "a, of the potential -ax²")] = 6.0
    tilt: Annotated[float, Coupling("h", "h, of the potential -hx", odd=True)] = 0.5


@dataclass(frozen=True)
class ManyWell(Theory):
    """Pairs of a double well and a Gaussian; the formula is at the head of this module.

    Raises LatticeFlowsError unless the number of components, one axis of them, is even.
    """

    name: ClassVar[str] = "many-well"
    Couplings: ClassVar[Any] = ManyWellCouplings
    title: ClassVar[str] = "many-well"
    least_side: ClassVar[int] = 2
    references: ClassVar[str] = "Midgley et al., arXiv:2208.01893"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shape) != 1 or self.sites % 2:
            raise LatticeFlowsError(
                "many-well is made of pairs: give one even number of components, "
                f"not `shape={self.shape}`"
            )

    def action(self, phi: Configuration, couplings: ManyWellCouplings) -> Scalar:
        import jax.numpy as jnp

        phi, couplings = self.checked(phi, couplings)
        return jnp.sum(self.well(phi[0::2], couplings)) + jnp.sum(phi[1::2] ** 2) / 2

    def well(self, x: Any, couplings: ManyWellCouplings) -> Any:
        """x⁴ - a x² - h x, elementwise, for NumPy and jax arrays alike."""
        square = x * x
        return square * square - couplings.depth * square - couplings.tilt * x

    def exact(self, couplings: ManyWellCouplings) -> ExactAnswers | None:
        return ManyWellAnswers(self, couplings)

    @property
    def mode_names(self) -> tuple[str, ...]:
        return ("positive_well",)

    def modes(self, phi: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 1"]:
        """The share of the pairs in the well at positive x. x = 0 counts half."""
        return np.heaviside(phi[:, 0::2], 0.5).mean(axis=1, keepdims=True)

    def mode_centres(self, couplings: ManyWellCouplings) -> Float[np.ndarray, "K d"] | None:
        """The minima of S, K = 2^{d/2} at most; None where they are more than a thousand."""
        stationary = np.roots([4, 0, -2 * couplings.depth, -couplings.tilt])
        x = np.sort(stationary.real[np.abs(stationary.imag) < 1e-6])
        minima = x[12 * x**2 > 2 * couplings.depth]
        pairs = self.sites // 2
        if len(minima) ** pairs > _MOST_CENTRES:
            return None
        centres = np.zeros((len(minima) ** pairs, self.sites))
        centres[:, 0::2] = list(product(minima, repeat=pairs))
        return centres


class ManyWellAnswers:
    """The exact solution of a many-well at given couplings; all in float64.

    Raises LatticeFlowsError for invalid couplings and for arrays of them.
    """

    def __init__(self, theory: ManyWell, couplings: ManyWellCouplings) -> None:
        theory.validate(couplings)
        if any(np.ndim(value) for value in couplings):
            raise LatticeFlowsError("exact answers are for one set of couplings, not for arrays")
        self.theory = theory
        self.couplings = ManyWellCouplings(*map(float, couplings))
        self._low, self._high = support(self._well, 0.0, 1)
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        sides = [(min(self._low, 0.0), 0.0), (0.0, max(self._high, 0.0))]
        x = np.concatenate([(a + b) / 2 + (b - a) / 2 * nodes for a, b in sides])
        weights = np.concatenate([(b - a) / 2 * weights for a, b in sides])
        floor = self._well(x).min()
        density = weights * np.exp(floor - self._well(x))
        total = density.sum()
        log_pair = np.log(total) - floor + np.log(2 * np.pi) / 2
        self.log_z = float(theory.sites // 2 * log_pair)
        even = theory.is_symmetric(self.couplings)
        self._observables = {
            "mean": 0.0 if even else float(density @ x / total / 2),
            "second_moment": float((density @ x**2 / total + 1) / 2),
            "positive_well": 0.5 if even else float(density[x > 0].sum() / total),
            "log_z": self.log_z,
        }

    def observables(self) -> dict[str, float]:
        """Exact values by name: mean, second_moment, positive_well, log_z."""
        return dict(self._observables)

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "n d"]:
        """n independent exact draws, float64.

        A grid with a uniformly random offset is laid under each well and one of its points drawn:
        the sum of the density over the grid does not depend on the offset (to rounding, by the
        trapezoid rule), so that the point has the continuous density.
        """
        drawn = rng.normal(size=(n, self.theory.sites))
        grid = uniform_grid(
            self._low, self._high, resolution(self._well, 0.0, self._low, self._high)
        )
        count, spacing = n * (self.theory.sites // 2), grid[1] - grid[0]
        floor, wells = self._well(grid).min(), np.empty(count)
        step = max(1, _CHUNK // len(grid))
        for start in range(0, count, step):
            rows = slice(start, min(start + step, count))
            offsets = spacing * rng.uniform(-0.5, 0.5, size=(rows.stop - start, 1))
            cumulative = np.cumsum(np.exp(floor - self._well(grid + offsets)), axis=1)
            level = rng.uniform(size=offsets.shape) * cumulative[:, -1:]
            chosen = np.sum(cumulative <= level, axis=1)
            wells[rows] = grid[chosen] + offsets[:, 0]
        drawn[:, 0::2] = wells.reshape(n, -1)
        return drawn

    def _well(self, x: np.ndarray) -> np.ndarray:
        return self.theory.well(x, self.couplings)
