"""Exact answers of a torus where they take no longer than a flow's draws beside them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..errors import LatticeFlowsError
from ..shapes import Point
from .solution import StripSolution

_QUICK, _GOOD = 30.0, 1e-5  # seconds of one number of nodes, and the error of log Z


@lru_cache(maxsize=2)
def quick_solution(theory: Any, couplings: Point) -> StripSolution | None:
    """The solution where all answers take a minute or so, and are good; None where they are not.

    Raises LatticeFlowsError for invalid couplings.
    """
    theory.validate(couplings)
    try:
        found = StripSolution(theory, couplings, seconds=_QUICK)
    except LatticeFlowsError:  # too dear, or wells too deep for the nodes
        return None
    return found if found.expected_error < _GOOD and found.seconds < 2 * _QUICK else None
