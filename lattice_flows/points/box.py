"""Points uniform in a box (Chemseddine et al., arXiv:2410.03282), for targets of few dimensions.

Each point counts by e^{-f_t}, normalised in its group, where C_t is computed: the box must hold all
of p_t, and it does not know where that is, so this is of use in two or three dimensions.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.params import Params
from lattice_flows.points.points import Points
from lattice_flows.setting import Setting

_A_GROUP = 64


@dataclass(frozen=True)
class Box:
    """Every component of a point uniform in [-half_box, half_box], fresh ones in every step."""

    setting: Setting

    def init(self, params: Params, key: jax.Array) -> tuple[()]:
        return ()

    def draw(
        self, params: Params, state: Any, key: jax.Array, opened: jax.Array
    ) -> tuple[Points, Any, dict[str, jax.Array]]:
        setting = self.setting
        phi_key, t_key, place_key = jax.random.split(key, 3)
        groups = max(2, setting.batch // _A_GROUP)
        shape = (groups, _A_GROUP, *setting.flow.base.theory.shape)
        end = setting.half_box
        phi = jax.random.uniform(phi_key, shape, minval=-end, maxval=end)
        t = jax.random.uniform(t_key, (groups,))
        t = (jnp.arange(groups, dtype=t.dtype) + t) / groups
        place = jax.random.uniform(place_key, (groups, len(setting.couplings.ranges)))

        def energies(phi, t, place):
            theta = setting.couplings.at(place, opened)
            return jax.vmap(lambda x: setting.path.energy(params, t, x, theta))(phi)

        reference = jax.nn.softmax(-jax.vmap(energies)(phi, t, place), axis=1)
        weight = jnp.full(reference.shape, 1 / reference.size)
        return Points(phi, t, place, reference, weight), state, {}
