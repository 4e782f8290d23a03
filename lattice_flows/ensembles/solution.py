"""Which exact solution there is of a theory: all answers, or log Z alone.

Chains, mixtures and the free field are solved at once, tori of two dimensions in seconds to half an
hour. Of tori that are too large for that log Z is known all the same, by tensor renormalisation,
where their sides are even.
"""

from collections.abc import Callable
from typing import Any

from lattice_flows.ensembles.ensemble import describe
from theories import (
    ExactAnswers,
    LatticeFlowsError,
    LatticeTheory,
    StripSolution,
    TensorRenormalization,
    Theory,
)

Solved = ExactAnswers | TensorRenormalization
"""What has exact answers, all of them or log Z alone."""


def solution(
    theory: Theory,
    couplings: Any,
    accuracy: float | None = None,
    report: Callable[[str], None] | None = None,
) -> Solved:
    """The exact solution of a theory, also where it takes minutes.

    accuracy: what log Z, and relative averages, may be off by on tori. report: is told what is
    done. Raises LatticeFlowsError where none is known, where it would take too long, and for
    invalid couplings.
    """
    exact = theory.exact(couplings)
    if exact is not None and not (accuracy and isinstance(exact, StripSolution)):
        return exact
    if not _is_torus(theory):
        raise LatticeFlowsError(
            f"no exact answer is known for {describe(theory)} here: {_remedy(theory)}"
        )
    try:
        return StripSolution(theory, couplings, accuracy=accuracy or 1e-7, report=report)
    except LatticeFlowsError:  # it says what it would take
        if not _is_even(theory):
            raise
    return TensorRenormalization(theory, couplings, accuracy=accuracy or 1e-5)


def solution_if_quick(theory: Theory, couplings: Any) -> Solved | None:
    """The exact solution where it takes a minute or so; else log Z alone, where that is known."""
    exact = theory.exact(couplings)
    if exact is None and _is_torus(theory) and _is_even(theory):
        return TensorRenormalization(theory, couplings, accuracy=1e-4)
    return exact


def _remedy(theory: Theory) -> str:
    if isinstance(theory, LatticeTheory):
        return "give a lattice of one or two dimensions (the free field has answers on all)"
    return "give couplings nearer to their defaults"


def _is_torus(theory: Theory) -> bool:
    return isinstance(theory, LatticeTheory) and len(theory.shape) == 2


def _is_even(theory: Theory) -> bool:
    return not any(side % 2 for side in theory.shape)
