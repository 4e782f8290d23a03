"""The contract of a training objective.

An objective turns parameters into a loss, and may carry a state (walkers, running averages) from
step to step. Adding one is a file beside this one and a line in `OBJECTIVES`.
"""

from typing import Any, Protocol, runtime_checkable

import jax

from lattice_flows.flows.params import Params
from theories.shapes import Scalar


@runtime_checkable
class Objective(Protocol):
    """A loss for what is trained. Every array of the state has a fixed shape and dtype."""

    def init(self, params: Params, key: jax.Array) -> Any:
        """The state to begin with."""

    def loss(
        self, params: Params, state: Any, key: jax.Array, fraction: Scalar
    ) -> tuple[Scalar, tuple[Any, dict[str, Scalar]]]:
        """The loss, with the new state and metrics.

        `fraction` in (0, 1] is how far the coupling ranges are open (curriculum).
        """
        ...
