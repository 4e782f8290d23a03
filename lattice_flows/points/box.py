"""Points uniform in a box (Chemseddine et al., arXiv:2410.03282), for targets of few dimensions.

The box grows with t from the base's size to the target's. A point counts by e^{-f_t/2}, normalised
in its group, in the loss and for C_t (where E = 0 any weights give the same C_t): with e^{-f_t} few
points would count, with none the empty corners. The box does not know where p_t is, so this is of
use in two or three dimensions.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.params import Params
from lattice_flows.points.points import Points
from lattice_flows.setting import Setting

_A_GROUP = 64
_BASE_WIDTHS = 5.0  # that the box reaches at t = 0


@dataclass(frozen=True)
class Box:
    """Every component of a point uniform in a box, at t = 1 [-half_box, half_box]."""

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
        t = jax.random.uniform(t_key, (groups,))
        t = (jnp.arange(groups, dtype=t.dtype) + t) / groups
        size = setting.path.extent(t)
        end = size * setting.half_box + (1 - size) * _BASE_WIDTHS * setting.flow.base.scale
        phi = end.reshape(-1, *(1,) * (len(shape) - 1)) * jax.random.uniform(
            phi_key, shape, minval=-1, maxval=1
        )
        place = jax.random.uniform(place_key, (groups, len(setting.couplings.ranges)))

        def energies(phi, t, place):
            theta = setting.couplings.at(place, opened)
            return jax.vmap(lambda x: setting.path.energy(params, t, x, theta))(phi)

        reference = jax.nn.softmax(-0.5 * jax.vmap(energies)(phi, t, place), axis=1)
        return Points(phi, t, place, reference, reference / groups), state, {}
