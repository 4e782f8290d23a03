"""What a training is about: what objectives and sources of evaluation points are given."""

from dataclasses import dataclass

from lattice_flows.flow import Flow
from lattice_flows.paths import Path
from lattice_flows.transport import Anchor
from lattice_flows.walkers import Couplings


@dataclass(frozen=True)
class Setting:
    """The flow, the path it is to follow, the couplings to train on, and how.

    batch: configurations a step. points: where a residual is evaluated (points/). penalty: of the
    residual (objectives/deformation.py). weighted: trajectories count by their weights. constant:
    C_t in closed form ("closed") or as a network ("network"). half_box: of the points "box".
    trained, anchor: the couplings that the flow to go on from was trained on, where there is one,
    to draw from and to go out from. boundary: what holds the flow there ("frozen", or a loss).
    """

    flow: Flow
    path: Path
    couplings: Couplings
    batch: int
    points: str = "both"
    penalty: str = "squared"
    weighted: bool = False
    constant: str = "closed"
    half_box: float = 10.0
    trained: Couplings | None = None
    anchor: Anchor | None = None
    boundary: str = "frozen"
