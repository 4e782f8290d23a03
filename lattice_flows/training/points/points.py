"""The contract of evaluation points: where the residual of a deformation is asked to vanish.

Adding a source is a file beside this one and a line in `SOURCES`.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from lattice_flows.flows.params import Params


class Points(NamedTuple):
    """G groups of n configurations, each group at one time t and one point of the coupling ranges.

    phi: (G, n, *shape). t: (G,). position: (G, k).
    reference: (G, n), weights with sum 1 in each group under which it stands for p_t: what C_t is
        computed with.
    weight: (G, n), of the penalty in the loss; their sum is about 1.
    """

    phi: jax.Array
    t: jax.Array
    position: jax.Array
    reference: jax.Array
    weight: jax.Array


@runtime_checkable
class Source(Protocol):
    """Where points come from. It may keep a state; nothing is differentiated through it."""

    def init(self, params: Params, key: jax.Array) -> Any:
        """The state to begin with."""

    def draw(
        self, params: Params, state: Any, key: jax.Array, fraction: jax.Array
    ) -> tuple[Points, Any, dict[str, jax.Array]]:
        """The points of one training step, the new state, and scalar metrics."""
        ...
