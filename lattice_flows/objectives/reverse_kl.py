"""Reverse KL, the baseline: the mean of log q + f₁ over the flow's own draws.

It is KL(q‖p) - log Z, a variational free energy: it needs no samples of p and cannot see a region
that the flow does not visit. An odd flow has the even target (symmetry.py), and
its ± wells cannot be lost to each other; other wells can be.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.params import Params
from lattice_flows.setting import Setting

_A_GROUP = 16  # draws that share their couplings


@dataclass(frozen=True)
class ReverseKL:
    """The variational free energy, averaged over the coupling ranges."""

    setting: Setting

    def init(self, params: Params, key: jax.Array) -> tuple[()]:
        return ()

    def loss(
        self, params: Params, state: tuple[()], key: jax.Array, opened: jax.Array
    ) -> tuple[jax.Array, tuple[tuple[()], dict[str, jax.Array]]]:
        couplings = self.setting.couplings
        place_key, draw_key = jax.random.split(key)
        # one set of couplings at all serves every draw where nothing varies
        groups = max(1, self.setting.batch // _A_GROUP) if couplings.ranges else 1
        places = jax.random.uniform(place_key, (groups, len(couplings.ranges)))

        def group(key, place):
            theta = couplings.at(place, opened)
            return self.free_energy(params, key, theta, max(2, self.setting.batch // groups))

        free_energy = jax.vmap(group)(jax.random.split(draw_key, groups), places)
        metrics = {"spread": jnp.mean(jnp.std(free_energy, axis=1))}
        return jnp.mean(free_energy), (state, metrics)

    def free_energy(self, params: Params, key: jax.Array, couplings: Any, n: int) -> jax.Array:
        """log q + f₁ of n draws of the flow at one set of couplings, (n,)."""
        phi, log_q = self.setting.flow.sample(params, key, couplings, n)
        return log_q + jax.vmap(lambda x: self.setting.path.target(x, couplings))(phi)
