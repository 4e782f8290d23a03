"""The answers of a torus on a given number of nodes a site.

Each is a pair (value, error), the error that of the eigenstates that are left out; what the nodes
err by is seen between two numbers of them (solution.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from ..distribution import Distribution
from ..gauss import gauss_nodes
from ..quadrature import Grid
from .correlations import two_point
from .magnetization import magnetization_distribution
from .node_choice import Choice
from .states import EPSILON, StripStates

Answer = tuple[Any, Any]
"""A number or an array, and its error."""
EXTENSIVE = ("log_z", "susceptibility", "susceptibility_abs")
"""The answers that grow with the volume, or a power of it."""


class StripAnswers:
    """Of a theory whose `shape` is that of a torus or a chain; rows lie across the axis `along`.

    target: the part of Z that is left out, or less; magnetization_target: of ⟨e^{ikM}⟩, for which
    every state that is kept costs more.
    """

    def __init__(
        self,
        theory: Any,
        couplings: Any,
        along: int,
        choice: Choice,
        target: float,
        magnetization_target: float,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.theory, self.couplings, self.choice = theory, couplings, choice
        self.even = bool(theory.is_symmetric(couplings))
        self.stiffness = float(theory.stiffness(couplings))
        self._target, self._magnetization_target = target, magnetization_target
        self.along, length = along, theory.shape[along]
        width = theory.sites // length
        self._report = report or (lambda what: None)
        self._what = f"rows of {width} sites, {choice.n} nodes each"
        self._report(f"eigenstates: {self._what}")
        nodes = gauss_nodes(self.potential, choice.c, choice.n, self.even)
        self.states = StripStates(
            nodes, self.potential, self.stiffness, width, length, self.even, target
        )

    def potential(self, x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """The potential of one site."""
        return self.theory.potential(x, self.couplings)

    def log_z(self) -> Answer:
        """log Z."""
        rounding = EPSILON * self.theory.sites * (1 + abs(self.states.log_scale))
        return self.states.log_z, self.states.rest + rounding

    def log_z_density(self) -> Answer:
        """log Z per site of the strip that goes on for ever."""
        density = self.states.log_scale / self.states.rows.width
        return density, EPSILON * (1 + abs(density))

    def gap(self) -> Answer:
        """ln κ_0/κ_1 of the strip."""
        if len(self.states.rho) < 2:
            return np.nan, np.nan
        return float(-np.log(self.states.rho[1])), 10 * EPSILON

    def site(self, values: Float[np.ndarray, " n"]) -> Answer:
        """⟨f(φ)⟩ of one site, from the values of f at the nodes."""
        rest = self.states.rest + EPSILON
        return float(self.states.occupation @ values), float(rest * np.max(np.abs(values)))

    def moment(self, power: int) -> Answer:
        """⟨φ^power⟩ of one site."""
        if power % 2 and self.even:
            return 0.0, 0.0
        return self.site(self.states.nodes.x**power)

    @cached_property
    def two_point(self) -> tuple[Float[np.ndarray, "*shape"], float]:
        """⟨φ_0 φ_x⟩ for every displacement x, and the error of each."""
        found, error = two_point(self.states, self._target)
        if len(self.theory.shape) == 1:
            return found[:, 0], error
        return (found.T if self.along else found), error

    def pairs(self) -> Answer:
        """The same, with an error for each."""
        found, error = self.two_point
        return found, np.full_like(found, error)

    def density(self, m: Grid) -> Answer:
        """P(M) at `m`."""
        return self.distribution.density(m)

    def correlator(self) -> Answer:
        """⟨φ̄_0 φ̄_r⟩ of the means of slices across the first direction."""
        found, error = self.two_point
        return found.reshape(len(found), -1).mean(axis=1), np.full(len(found), error)

    def bonds(self) -> Answer:
        """Σ_μ ⟨(φ_x - φ_{x+μ})²⟩."""
        found, error = self.two_point
        axes = range(found.ndim)
        nearest = [found[tuple(int(i == axis) for i in axes)] for axis in axes]
        return float(sum(2 * (found.flat[0] - one) for one in nearest)), 4 * error * found.ndim

    def action_density(self) -> Answer:
        """⟨S⟩/V."""
        bonds, error = self.bonds()
        site, more = self.site(self.potential(self.states.nodes.x))
        return self.stiffness * bonds + site, self.stiffness * error + more

    def susceptibility(self) -> Answer:
        """V (⟨M²⟩ - ⟨M⟩²)."""
        found, error = self.two_point
        mean, more = self.moment(1)
        volume = self.theory.sites
        return (
            float(volume * (found.mean() - mean**2)),
            volume * (error + 2 * abs(mean) * more),
        )

    @cached_property
    def distribution(self) -> Distribution:
        """Of M."""
        self._report(f"P(M): {self._what}")
        return magnetization_distribution(self.states, self._magnetization_target)

    def of_magnetization(self) -> dict[str, Answer]:
        """What is known from P(M) alone."""
        found = self.distribution
        m2, m2_error = found.moment(2)
        m4, m4_error = found.moment(4)
        size, size_error = found.absolute()
        volume = self.theory.sites
        positive, positive_error = found.positive()
        binder = 1 - m4 / (3 * m2**2)
        binder_error = (1 - binder) * (m4_error / m4 + 2 * m2_error / m2)
        return {
            "abs_magnetization": (size, size_error),
            "susceptibility_abs": (
                volume * (m2 - size**2),
                volume * (m2_error + 2 * size * size_error),
            ),
            "binder_cumulant": (
                (0.0, 0.0) if self.even and self.theory.is_free else (binder, binder_error)
            ),
            "positive_mode_weight": (
                (0.5, 0.0) if self.even else (min(max(positive, 0.0), 1.0), positive_error)
            ),
        }

    def of_fields(self) -> dict[str, Answer]:
        """All else."""
        return {
            "magnetization": self.moment(1),
            "susceptibility": self.susceptibility(),
            "phi2": self.moment(2),
            "phi4": self.moment(4),
            "action_density": self.action_density(),
            "correlator": self.correlator(),
            "log_z": self.log_z(),
        }
