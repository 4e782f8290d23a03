"""Maximum likelihood: the mean of -log q over draws of the target.

It is KL(p‖q) and the entropy of p: nothing that p visits can be lost, but draws of p are needed.
They are exact where the theory has exact answers, of Hamiltonian Monte Carlo on other lattices
(reference.py), drawn once at several couplings of the ranges. The draws are a fixed data set: they
do not depend on the seed of a training.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lattice_flows.params import Params
from lattice_flows.reference import hmc_grid
from lattice_flows.setting import Setting
from lattice_flows.walkers import Couplings
from theories import Theory

_DRAWS, _PLACES = 16_384, 16  # in all, and couplings they are at, where a range is open
_CHAINS = 64
_IN_A_STEP = 4  # couplings


@dataclass(frozen=True, eq=False)
class Likelihood:
    """-⟨log q⟩ over draws (P, n, *shape) of the target at `places` (P, k) in the ranges."""

    setting: Setting
    places: NDArray[np.float64]
    draws: NDArray[np.float64]

    @classmethod
    def with_draws(cls, setting: Setting) -> "Likelihood":
        """The objective of the setting, its data drawn.

        Raises LatticeFlowsError for a theory with neither exact draws nor a chain.
        """
        k = len(setting.couplings.ranges)
        rng = np.random.default_rng(0)
        places = rng.uniform(size=(_PLACES, k)) if k else np.zeros((1, 0))
        return cls(setting, places, draws(setting.flow.base.theory, setting.couplings, places))

    def init(self, params: Params, key: jax.Array) -> tuple[()]:
        return ()

    def loss(
        self, params: Params, state: tuple[()], key: jax.Array, opened: jax.Array
    ) -> tuple[jax.Array, tuple[tuple[()], dict[str, jax.Array]]]:
        """The loss on some of the draws; the data are of all of the ranges, `opened` or not."""
        setting, (place_key, draw_key) = self.setting, jax.random.split(key)
        count = min(_IN_A_STEP, len(self.places))
        chosen = jax.random.choice(place_key, len(self.places), (count,), replace=False)
        picked = jax.random.randint(
            draw_key, (count, max(1, setting.batch // count)), 0, self.draws.shape[1]
        )
        dtype = jax.tree.leaves(params.field)[0].dtype
        places, data = (jnp.asarray(x, dtype) for x in (self.places, self.draws))

        def log_q(place: jax.Array, phi: jax.Array) -> jax.Array:
            return setting.flow.log_prob(params, phi, setting.couplings.at(place))

        value = -jnp.mean(jax.vmap(log_q)(places[chosen], data[chosen[:, None], picked]))
        return value, (state, {})


def draws(theory: Theory, couplings: Couplings, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draws (P, n, *shape) of the target, _DRAWS in all, at each of the places (P, k)."""
    n = _DRAWS // len(places)
    grid: list[Any] = [jax.tree.map(float, couplings.at(jnp.asarray(place))) for place in places]
    if theory.exact(grid[0]) is None:
        key = jax.random.key(0)
        ensembles = hmc_grid(theory, grid, key, chains=_CHAINS, draws=n // _CHAINS)
        return np.stack([ensemble.configurations for ensemble in ensembles])
    found = []
    for i, point in enumerate(grid):
        exact = theory.exact(point)
        assert exact is not None
        found.append(exact.sample(np.random.default_rng([0, i]), n))
    return np.stack(found)
