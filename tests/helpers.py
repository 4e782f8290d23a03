"""What several tests share: parameters in double precision that let nothing vanish, a base."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.flows.base.base import Base
from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.fields import Field
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.model import build
from lattice_flows.flows.paths import LinearPath
from lattice_flows.papers.experiment import Settings
from lattice_flows.runs.config import Config
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.training.problem import Problem
from theories import FreeField, LatticeTheory
from theories.lattice import laplacian_eigenvalues


def double(tree: Any) -> Any:
    """Every leaf in float64."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def random_params(field: Field, size: float, seed: int = 0) -> Any:
    """Parameters of a field in float64, all of them noise of `size`/√(fan-in).

    A field begins with a small last layer: a test of that would pass with half of it missing.
    """
    rng = np.random.default_rng(seed)

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        fan_in = leaf.shape[0] if len(leaf.shape) > 1 else 1
        return jnp.asarray(rng.normal(0, size / np.sqrt(fan_in), leaf.shape))

    return jax.tree.map(draw, jax.eval_shape(field.init, jax.random.key(0)))


@dataclass(frozen=True)
class White(Base):
    """Independent normal sites e^{-aφ²}."""

    a: float = 1.0

    def energy(self, params, phi, couplings):
        return self.a * jnp.sum(phi**2)

    def log_normalisation(self, params, couplings):
        return jnp.asarray(0.5 * self.theory.sites * np.log(np.pi / self.a))

    def sample(self, params, key, couplings):
        return jax.random.normal(key, self.theory.shape) / np.sqrt(2 * self.a)


class Shift(NamedTuple):
    shift: float = 0.25


@dataclass(frozen=True)
class Independent(LatticeTheory):
    """Sites that do not know of one another: S = Σ ½(φ-a)², so every observable is elementary."""

    name: ClassVar[str] = "independent"
    Couplings: ClassVar[type] = Shift

    def stiffness(self, couplings):
        return 0.0

    def potential(self, x, couplings):
        return (x - couplings.shift) ** 2 / 2

    def quadratic(self, couplings):
        return 0.5

    def leading(self, couplings):
        return 2, 0.5

    def exact(self, couplings):
        a, v = couplings.shift, self.sites
        s = 1 / v  # M ~ N(a, s)
        folded = np.sqrt(2 * s / np.pi) * np.exp(-(a**2) / (2 * s)) + a * (
            1 - 2 * norm.cdf(-a / np.sqrt(s))
        )
        return {
            "magnetization": a,
            "abs_magnetization": folded,
            "susceptibility": 1.0,
            "susceptibility_abs": v * (a**2 + s - folded**2),
            "binder_cumulant": 1 - (a**4 + 6 * a**2 * s + 3 * s**2) / (3 * (a**2 + s) ** 2),
            "phi2": a**2 + 1,
            "phi4": a**4 + 6 * a**2 + 3,
            "action_density": 0.5,
            "positive_mode_weight": norm.cdf(a / np.sqrt(s)),
            "log_z": v / 2 * np.log(2 * np.pi),
        }


def linear_setting(flow: Flow, couplings: Couplings, batch: int, **more: Any) -> Problem:
    """A training on the linear path."""
    return Problem(flow, LinearPath(flow.base, flow.odd), couplings, batch, **more)


def untrained(settings: Settings, name: str, config: Config, source: str | None = None) -> Sampler:
    """In place of `papers.runs.trained`: the flow of `config` as it begins, but a small one."""
    small = {"width": 4, "ode_steps": 4}
    if config.source is not None:
        config = replace(config, source={**config.source, **small})
    config = replace(config, **small)
    model = build(config)
    return Sampler(config, model, model.init(jax.random.key(config.seed)), {})


def free_answers(theory: FreeField, mass_squared: float) -> dict[str, float]:
    """Every observable of the free field in closed form."""
    couplings = theory.from_values(mass_squared=mass_squared)
    s, phi2 = 1 / (2 * mass_squared * theory.sites), theory.propagator(couplings).flat[0]
    return {
        "magnetization": 0.0,
        "abs_magnetization": np.sqrt(2 * s / np.pi),  # M ~ N(0, s)
        "susceptibility": theory.sites * s,
        "susceptibility_abs": theory.sites * s * (1 - 2 / np.pi),
        "binder_cumulant": 0.0,
        "phi2": phi2,
        "phi4": 3 * phi2**2,
        "action_density": 0.5,
        "positive_mode_weight": 0.5,
        "log_z": theory.log_z(couplings),
    }


def free_slopes(theory: FreeField, mass_squared: float) -> dict[str, float]:
    """Their derivatives with respect to M², in closed form."""
    k2 = laplacian_eigenvalues(theory.shape) + mass_squared
    phi2, slope = np.mean(1 / (2 * k2)), np.mean(-1 / (2 * k2**2))
    answers = free_answers(theory, mass_squared)
    return {
        "magnetization": 0.0,
        "abs_magnetization": -answers["abs_magnetization"] / (2 * mass_squared),
        "susceptibility": -answers["susceptibility"] / mass_squared,
        "susceptibility_abs": -answers["susceptibility_abs"] / mass_squared,
        "binder_cumulant": 0.0,
        "phi2": slope,
        "phi4": 6 * phi2 * slope,
        "action_density": 0.0,
        "positive_mode_weight": 0.0,
        "log_z": -np.sum(1 / (2 * k2)),
    }


def free_draws(
    theory: FreeField, mass_squared: float, proposed: float, rng: np.random.Generator, n: int
) -> Ensemble:
    """Exact draws at M² = `proposed`, weighted to M² = `mass_squared`."""
    k2 = laplacian_eigenvalues(theory.shape) + proposed
    # a field whose transform is filtered white noise is real, and its modes are independent
    axes = tuple(range(1, 1 + len(theory.shape)))
    white = np.fft.fftn(rng.normal(size=(n, *theory.shape)), axes=axes)
    phi = np.fft.ifftn(white / np.sqrt(2 * k2), axes=axes).real
    couplings = theory.from_values(mass_squared=mass_squared)
    excess = (proposed - mass_squared) * np.sum(phi**2, axis=axes)
    log_weights = excess + theory.log_z(theory.from_values(mass_squared=proposed))
    return Ensemble(theory, couplings, phi, log_weights)
