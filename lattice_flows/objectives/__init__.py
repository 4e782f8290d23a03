"""Training objectives, by name."""

from lattice_flows.objectives.deformation import Deformation
from lattice_flows.objectives.objective import Objective as Objective
from lattice_flows.objectives.path_gradient import PathGradient
from lattice_flows.objectives.reverse_kl import ReverseKL
from lattice_flows.objectives.trade import Trade
from lattice_flows.objectives.transport import Transport

OBJECTIVES = {
    "deformation": Deformation,
    "gradient-flow": Deformation,  # of an energy whose gradient is the field (fields/gradient.py)
    "reverse-kl": ReverseKL,
    "path-gradient": PathGradient,
    "transport": Transport,
    "trade": Trade,
}
"""Constructors by name: (setting) -> Objective."""
