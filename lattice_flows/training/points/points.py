"""The contract of evaluation points: where the residual of a deformation is asked to vanish.

Adding a source is a file beside this one and a line in `SOURCES`.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Float

from lattice_flows.flows.params import Params
from theories.shapes import Array, Scalar


class Points(NamedTuple):
    """G groups of n configurations, each group at one time t and one point of the coupling ranges.

    reference: weights with sum 1 in each group under which it stands for p_t: what C_t is computed
        with.
    weight: of the penalty in the loss; their sum is about 1.
    """

    phi: Float[Array, " G n *shape"]
    t: Float[Array, " G"]
    position: Float[Array, "G k"]
    reference: Float[Array, "G n"]
    weight: Float[Array, "G n"]


@runtime_checkable
class Source(Protocol):
    """Where points come from. It may keep a state; nothing is differentiated through it."""

    def init(self, params: Params, key: jax.Array) -> Any:
        """The state to begin with."""

    def draw(
        self, params: Params, state: Any, key: jax.Array, fraction: Scalar
    ) -> tuple[Points, Any, dict[str, Scalar]]:
        """The points of one training step, the new state, and metrics."""
        ...
