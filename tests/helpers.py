"""What several tests share: parameters in double precision that let nothing vanish, a base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lattice_flows.base.base import Base
from lattice_flows.config import Config
from lattice_flows.fields import Field
from lattice_flows.flow import Flow
from lattice_flows.model import build
from lattice_flows.paths import LinearPath
from lattice_flows.reproduce.experiment import Settings
from lattice_flows.sampler import Sampler
from lattice_flows.setting import Setting
from lattice_flows.walkers import Couplings


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


def linear_setting(flow: Flow, couplings: Couplings, batch: int, **more: Any) -> Setting:
    """A training on the linear path."""
    return Setting(flow, LinearPath(flow.base, flow.odd), couplings, batch, **more)


def untrained(settings: Settings, name: str, config: Config) -> Sampler:
    """In place of `reproduce.runs.trained`: the flow of `config` as it begins."""
    model = build(config)
    return Sampler(config, model, model.init(jax.random.key(config.seed)), {})
