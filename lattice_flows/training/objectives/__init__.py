"""Training objectives, by name."""

from lattice_flows.training.objectives.conditioned_trade import ConditionedTrade
from lattice_flows.training.objectives.deformation import Deformation
from lattice_flows.training.objectives.likelihood import Likelihood
from lattice_flows.training.objectives.objective import Objective as Objective
from lattice_flows.training.objectives.path_gradient import PathGradient
from lattice_flows.training.objectives.reverse_kl import ReverseKL
from lattice_flows.training.objectives.trade import Trade
from lattice_flows.training.objectives.transport import Transport
from lattice_flows.training.problem import Problem


def _trade(problem: Problem) -> Objective:
    """On from a frozen flow, or with a loss at the boundary."""
    frozen = problem.boundary == "frozen"
    return Trade(problem) if frozen else ConditionedTrade.with_boundary(problem)


OBJECTIVES = {
    "deformation": Deformation,
    "gradient-flow": Deformation,  # of an energy whose gradient is the field (fields/gradient.py)
    "reverse-kl": ReverseKL,
    "path-gradient": PathGradient,
    "transport": Transport,
    "likelihood": Likelihood.with_draws,
    "trade": _trade,
}
"""Constructors by name: (problem) -> Objective."""
