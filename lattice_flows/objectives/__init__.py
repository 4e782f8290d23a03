"""Training objectives, by name."""

from lattice_flows.objectives.conditioned_trade import ConditionedTrade
from lattice_flows.objectives.deformation import Deformation
from lattice_flows.objectives.likelihood import Likelihood
from lattice_flows.objectives.objective import Objective as Objective
from lattice_flows.objectives.path_gradient import PathGradient
from lattice_flows.objectives.reverse_kl import ReverseKL
from lattice_flows.objectives.trade import Trade
from lattice_flows.objectives.transport import Transport
from lattice_flows.setting import Setting


def _trade(setting: Setting) -> Objective:
    """On from a frozen flow, or with a loss at the boundary."""
    frozen = setting.boundary == "frozen"
    return Trade(setting) if frozen else ConditionedTrade.with_boundary(setting)


OBJECTIVES = {
    "deformation": Deformation,
    "gradient-flow": Deformation,  # of an energy whose gradient is the field (fields/gradient.py)
    "reverse-kl": ReverseKL,
    "path-gradient": PathGradient,
    "transport": Transport,
    "likelihood": Likelihood.with_draws,
    "trade": _trade,
}
"""Constructors by name: (setting) -> Objective."""
