"""The move-invariance check: draws are moved by HMC and cluster flips, and nothing may change.

The statistic is that of observables/invariance.py. A move is one of mcmc/hmc.py's: a trajectory of
Hamiltonian dynamics with Fourier acceleration, accepted by Metropolis,

    φ' = P π,   π' = -∇S(φ),   π ~ N(0, P⁻¹),   P_k = 1/(2 (a + stiffness k̂²)),

then a cluster flip (mcmc/clusters.py) and a heat bath between φ and -φ. It is made in NumPy for all
draws at once: a few moves of 4096 draws take a tenth of a second, compiling them would take ten.

The step of the integrator is found beforehand by a few chains of their own, which know the
couplings and nothing of the draws: one tuned on the draws would not leave p invariant. The random
numbers follow from the log-weights: the same draws get the same verdict, and others other numbers.
"""

import dataclasses
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from lattice_flows.ensembles.ensemble import Ensemble
from observables import Measurement, quantities
from observables.invariance import Invariance, paired_change, resample
from observables.orbit import actions
from theories import LatticeTheory
from theories.lattice import laplacian_eigenvalues

Array = NDArray[np.float64]

MOVES = 2
DRAWS = 4096
_FIELD_VALUES = 1 << 22  # of all moved draws together, for large lattices
_SEED = 20230118
_CHAINS, _TRIALS, _ACCEPTANCE = 32, 20, 0.8
_LENGTH = np.pi / 2  # of a trajectory, on average
_LONGEST = 100  # steps of a trajectory


def check_invariance(
    theory: LatticeTheory,
    couplings: Any,
    configurations: Any,
    log_weights: Array,
    *,
    orbit: bool = True,
    moves: int = MOVES,
    draws: int = DRAWS,
) -> Invariance | None:
    """Move draws (n, *shape) with log-weights (n,), and test the change of the observables.

    `draws` of them, fewer on large lattices, resampled by weight; `configurations` is anything
    with slices along the first axis. orbit: as `measure` has it. None where too few draws have
    weight for a verdict.
    """
    rng = np.random.default_rng([_SEED, zlib.crc32(np.asarray(log_weights).tobytes())])
    count = max(256, min(draws, _FIELD_VALUES // theory.sites))
    parents = resample(log_weights, count, rng.random())
    mover = Mover(theory, couplings, rng)
    phi = _taken(configurations, parents)
    measured = quantities(theory)
    with np.errstate(over="ignore", invalid="ignore"):  # proposals far out are refused
        before = measured.samples(couplings, phi, orbit)
        for _ in range(moves):
            phi = mover.move(phi)
        after = measured.samples(couplings, phi, orbit)
    found = paired_change(before, after, parents)
    if found is None:
        return None
    statistic, threshold, worst = found
    return Invariance(statistic, threshold, _COLUMNS[worst], moves, count)


# the columns of observables/lattice.py
_COLUMNS = (
    "magnetization",
    "abs_magnetization",
    "magnetization_squared",
    "magnetization_fourth",
    "phi2",
    "phi4",
    "action_density",
    "positive_mode_weight",
)


def checked(ensemble: Any, measurement: Measurement) -> Measurement:
    """The measurement of weighted draws of a lattice theory with the verdict of the check.

    Others are returned as they are: chains have a check of their own, and a theory off the lattice
    has an exact answer.
    """
    if ensemble.log_weights is None or not isinstance(ensemble.theory, LatticeTheory):
        return measurement
    found = check_invariance(
        ensemble.theory,
        ensemble.couplings,
        ensemble.configurations,
        ensemble.log_weights,
        orbit=ensemble.orbit,
    )
    if found is None and measurement.failed:  # too few draws have weight
        return measurement
    if found is None:  # what cannot be tested has not passed
        return dataclasses.replace(measurement, failed=("invariance",))
    failed = measurement.failed + (() if found.passed else ("invariance",))
    return dataclasses.replace(measurement, failed=failed, invariance=found)


def recorded(ensemble: Ensemble, measurement: Measurement) -> Ensemble:
    """The ensemble with the checks of its measurement in its provenance."""
    found = measurement.invariance
    record = {
        "failed": list(measurement.failed),
        "invariance": None if found is None else found.as_json(),
    }
    return dataclasses.replace(ensemble, provenance={**ensemble.provenance, **record})


class Mover:
    """Moves of many configurations at once, (n, *shape), each by itself; each preserves p."""

    def __init__(self, theory: LatticeTheory, couplings: Any, rng: np.random.Generator):
        self.theory, self.rng = theory, rng
        self.couplings = type(couplings)(*(float(value) for value in couplings))
        self.axes = tuple(range(1, 1 + len(theory.shape)))
        self.stiffness = float(theory.stiffness(self.couplings))
        quadratic = float(theory.quadratic(self.couplings))
        local = max(quadratic, -quadratic / 2) + 0.4 * np.sqrt(
            float(theory.strength(self.couplings))
        )  # as in mcmc/hmc.py
        half = tuple(map(slice, (*theory.shape[:-1], theory.shape[-1] // 2 + 1)))
        momenta = laplacian_eigenvalues(theory.shape)[half]
        self.covariance = 0.5 / (local + self.stiffness * momenta)
        self.step = self._found_step()

    def move(self, phi: Array) -> Array:
        """One trajectory, one cluster flip and one choice of sign of each configuration."""
        return self._flipped(self._trajectory(phi, self.step)[0])

    def _found_step(self) -> float:
        """A step with an acceptance of 0.8, from a few chains that begin with a free field."""
        white = self.rng.standard_normal((_CHAINS, *self.theory.shape))
        phi, log_step = self._filtered(np.sqrt(self.covariance), white), 0.0
        for trial in range(1, _TRIALS + 1):
            phi, acceptance = self._trajectory(phi, np.exp(log_step))
            phi = self._flipped(phi)
            log_step += trial**-0.6 * (acceptance - _ACCEPTANCE)
        return float(np.exp(log_step))

    def _trajectory(self, phi: Array, step: float) -> tuple[Array, float]:
        """Configurations after one trajectory, accepted or not, and the mean acceptance."""
        length = _LENGTH * self.rng.uniform(0.5, 1.5)  # the same for all, as in mcmc/hmc.py
        count = int(np.clip(round(length / step), 1, _LONGEST))
        white = self.rng.standard_normal(phi.shape)
        momentum = self._filtered(1 / np.sqrt(self.covariance), white)
        with np.errstate(over="ignore", invalid="ignore"):
            energy = actions(self.theory, self.couplings, phi) + 0.5 * np.sum(white**2, self.axes)
            there = phi
            momentum = momentum - 0.5 * step * self._gradient(there)
            for i in range(1, count + 1):
                there = there + step * self._filtered(self.covariance, momentum)
                kick = step if i < count else 0.5 * step
                momentum = momentum - kick * self._gradient(there)
            kinetic = 0.5 * np.sum(momentum * self._filtered(self.covariance, momentum), self.axes)
            gain = energy - actions(self.theory, self.couplings, there) - kinetic
        gain = np.where(np.isfinite(gain), gain, -np.inf)
        accepted = np.log(self.rng.random(len(phi))) < gain
        return self._chosen(accepted, there, phi), float(np.mean(np.exp(np.minimum(gain, 0))))

    def _flipped(self, phi: Array) -> Array:
        """Each configuration with a cluster flipped, or not, and with either sign."""
        n = len(phi)
        seeds = self.rng.integers(0, self.theory.sites, n)
        cluster = (np.arange(self.theory.sites) == seeds[:, None]).reshape(phi.shape)
        bonds = [
            self.rng.random(phi.shape)
            < -np.expm1(-4 * self.stiffness * np.maximum(phi * np.roll(phi, -1, axis), 0))
            for axis in self.axes
        ]
        size = -1
        while size != (size := np.count_nonzero(cluster)):
            for axis, is_open in zip(self.axes, bonds, strict=True):
                cluster = cluster | np.roll(cluster & is_open, 1, axis)
                cluster = cluster | (np.roll(cluster, -1, axis) & is_open)
        flipped = np.where(cluster, -phi, phi)
        gain = self._potential(phi) - self._potential(flipped)
        phi = self._chosen(np.log(self.rng.random(n)) < gain, flipped, phi)
        mirror = expit(self._potential(phi) - self._potential(-phi))
        return self._chosen(self.rng.random(n) < mirror, -phi, phi)

    def _potential(self, phi: Array) -> Array:
        return np.asarray(self.theory.potential(phi, self.couplings)).sum(self.axes)

    def _gradient(self, phi: Array) -> Array:
        """∇S; of the potential by a complex step, which is exact for an analytic function."""
        tiny = 1e-30
        gradient = np.imag(self.theory.potential(phi + 1j * tiny, self.couplings)) / tiny
        for axis in self.axes:
            neighbours = np.roll(phi, 1, axis) + np.roll(phi, -1, axis)
            gradient = gradient + 2 * self.stiffness * (2 * phi - neighbours)
        return gradient

    def _filtered(self, factors: Array, phi: Array) -> Array:
        """`phi` with its modes multiplied by `factors`, given at the momenta of a real field."""
        modes = factors * np.fft.rfftn(phi, axes=self.axes)
        return np.fft.irfftn(modes, s=self.theory.shape, axes=self.axes)

    def _chosen(self, which: NDArray[np.bool_], phi: Array, other: Array) -> Array:
        return np.where(which.reshape(-1, *(1 for _ in self.axes)), phi, other)


def _taken(configurations: Any, places: NDArray[np.intp]) -> Array:
    """The configurations at `places`, in rising order, of what can only be sliced."""
    if isinstance(configurations, np.ndarray):
        return configurations[places]
    block = 4096
    parts = []
    for start in range(0, len(configurations), block):
        here = places[(places >= start) & (places < start + block)]
        if len(here):
            parts.append(np.asarray(configurations[start : start + block])[here - start])
    return np.concatenate(parts)
