"""Maximum likelihood: the mean of -log q over draws of the target.

It is KL(p‖q) and the entropy of p: nothing that p visits can be lost, but draws of p are needed.
They are exact where the theory has exact answers, of Hamiltonian Monte Carlo on other lattices
(mcmc/hmc.py), drawn once at several couplings of the ranges. The draws are a fixed data set: they
do not depend on the seed of a training.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.params import Params
from lattice_flows.mcmc.hmc import hmc_grid
from lattice_flows.training.problem import Problem
from theories import Theory
from theories.shapes import Scalar

_DRAWS, _POSITIONS = 16_384, 16  # in all, and couplings they are at, where a range is open
_CHAINS = 64
_IN_A_STEP = 4  # couplings


@dataclass(frozen=True, eq=False)
class Likelihood:
    """-⟨log q⟩ over draws (P, n, *shape) of the target at `positions` (P, k) in the ranges."""

    problem: Problem
    positions: NDArray[np.float64]
    draws: NDArray[np.float64]

    @classmethod
    def with_draws(cls, problem: Problem) -> "Likelihood":
        """The objective of the problem, its data drawn.

        Raises LatticeFlowsError for a theory with neither exact draws nor a chain.
        """
        k = len(problem.couplings.ranges)
        rng = np.random.default_rng(0)
        positions = rng.uniform(size=(_POSITIONS, k)) if k else np.zeros((1, 0))
        return cls(
            problem, positions, draws(problem.flow.base.theory, problem.couplings, positions)
        )

    def init(self, params: Params, key: jax.Array) -> tuple[()]:
        return ()

    def loss(
        self, params: Params, state: tuple[()], key: jax.Array, fraction: Scalar
    ) -> tuple[Scalar, tuple[tuple[()], dict[str, Scalar]]]:
        """The loss on some of the draws; the data are of all of the ranges, `fraction` or not."""
        problem, (position_key, draw_key) = self.problem, jax.random.split(key)
        count = min(_IN_A_STEP, len(self.positions))
        chosen = jax.random.choice(position_key, len(self.positions), (count,), replace=False)
        picked = jax.random.randint(
            draw_key, (count, max(1, problem.batch // count)), 0, self.draws.shape[1]
        )
        dtype = jax.tree.leaves(params.field)[0].dtype
        positions, data = (jnp.asarray(x, dtype) for x in (self.positions, self.draws))

        def log_q(position: jax.Array, phi: jax.Array) -> jax.Array:
            return problem.flow.log_prob(params, phi, problem.couplings.at(position))

        value = -jnp.mean(jax.vmap(log_q)(positions[chosen], data[chosen[:, None], picked]))
        return value, (state, {})


def draws(
    theory: Theory, couplings: Couplings, positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draws (P, n, *shape) of the target, _DRAWS in all, at each of the positions (P, k)."""
    n = _DRAWS // len(positions)
    grid: list[Any] = [
        jax.tree.map(float, couplings.at(jnp.asarray(position))) for position in positions
    ]
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
