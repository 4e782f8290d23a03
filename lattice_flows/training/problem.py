"""What a training is about: what objectives and sources of evaluation points are given."""

from dataclasses import dataclass

from lattice_flows.flows.continuation import Anchor
from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.model import Model
from lattice_flows.flows.paths import Path


@dataclass(frozen=True)
class Problem:
    """The flow, the path it is to follow, the couplings to train on, and how.

    batch: configurations a step. points: where a residual is evaluated (points/). penalty: of the
    residual (objectives/deformation.py). weighted: trajectories count by their weights. constant:
    C_t as a mean or median ("estimated"), or a network ("network"). half_box: of the points "box".
    trained, anchor: the couplings that the flow to go on from was trained on, where there is one,
    to draw from and to go out from. boundary: what holds the flow there ("frozen", or a loss).
    """

    flow: Flow
    path: Path
    couplings: Couplings
    batch: int
    points: str = "mixed"
    penalty: str = "squared"
    weighted: bool = False
    constant: str = "estimated"
    half_box: float = 10.0
    trained: Couplings | None = None
    anchor: Anchor | None = None
    boundary: str = "frozen"

    @classmethod
    def of(cls, model: Model) -> "Problem":
        """What a model is trained on."""
        config = model.config
        source = None if config.source is None else config.source_config
        return cls(
            model.flow,
            model.path,
            model.couplings,
            batch=config.batch,
            points=config.points,
            penalty=config.penalty,
            weighted=config.weighted,
            constant=config.constant,
            half_box=config.half_box,
            trained=None if source is None else Couplings.of(source),
            anchor=None if source is None else Anchor.of(source),
            boundary=config.boundary,
        )
