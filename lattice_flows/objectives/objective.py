"""The contract of a training objective.

An objective turns parameters into a loss, and may carry a state (walkers, running averages) from
step to step. Adding one is a file beside this one and a line in `OBJECTIVES`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import jax

from lattice_flows.flow import Flow, Params
from lattice_flows.walkers import Couplings


@dataclass(frozen=True)
class Setting:
    """What an objective is given: the flow, the couplings to train on, and sizes.

    batch: configurations a step. points: where a residual is evaluated ("own", "walkers", "both").
    penalty: how it is penalised ("squared", "absolute", "sum", "logarithmic").
    """

    flow: Flow
    couplings: Couplings
    batch: int
    points: str
    penalty: str = "squared"


class Objective(Protocol):
    """A loss for the field's parameters. Every array of the state has a fixed shape and dtype."""

    def init(self, params: Params, key: jax.Array) -> Any:
        """The state to begin with."""

    def loss(
        self, params: Params, state: Any, key: jax.Array, opened: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        """The loss, a scalar, with the new state and scalar metrics.

        `opened` in (0, 1] is how far the coupling ranges are open (curriculum).
        """
        ...
