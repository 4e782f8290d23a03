"""How the answers of a torus change with its couplings.

    ∂ log Z = -⟨∂S⟩,        ∂⟨O⟩ = ⟨∂O⟩ - ⟨O ∂S⟩ + ⟨O⟩⟨∂S⟩

Both by differences of fourth order, f' = (8 [f(h) - f(-h)] - [f(2h) - f(-2h)]) / 12h: of the action
itself in the first, of answers in the second, which on the same nodes and with weights of the same
c are smooth functions of the couplings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .answers import Answer, StripAnswers
from .states import EPSILON

_STEP = 2e-3


def log_z_derivatives(answers: StripAnswers) -> dict[str, Answer]:
    """(∂ log Z, error) by each coupling."""
    theory, at, x = answers.theory, answers.couplings, answers.states.nodes.x
    bonds, bonds_error = answers.bonds()
    found = {}
    for name in at._fields:
        slope, _ = _difference(lambda c: theory.potential(x, c), at, name)
        stiffness, _ = _difference(lambda c: float(theory.stiffness(c)), at, name)
        site, error = answers.site(slope)
        rounding = 1e3 * EPSILON * (abs(site) + abs(stiffness * bonds))
        found[name] = (
            float(-theory.sites * (site + stiffness * bonds)),
            float(theory.sites * (error + abs(stiffness) * bonds_error + rounding)),
        )
    return found


def differences(
    answers: StripAnswers, coupling: str, targets: tuple[float, float]
) -> dict[str, Answer]:
    """(∂⟨O⟩, error) by `coupling`, of all that the answers have."""
    solved: dict[Any, dict[str, Answer]] = {}

    def solve(couplings: Any) -> dict[str, Answer]:
        if couplings not in solved:
            there = StripAnswers(answers.theory, couplings, answers.along, answers.choice, *targets)
            solved[couplings] = there.of_fields() | there.of_magnetization()
        return solved[couplings]

    found: dict[str, Answer] = {}
    for name in solve(answers.couplings):
        value, second = _difference(
            lambda couplings, name=name: solve(couplings)[name][0], answers.couplings, coupling
        )
        step = _step(getattr(answers.couplings, coupling))
        worst = np.max([np.max(answer[name][1]) for answer in solved.values()])
        found[name] = value, np.abs(value - second) * _STEP + 2 * worst / step
    return found


def _step(value: float) -> float:
    return _STEP * (abs(value) or 1.0)


def _difference(function: Callable[[Any], Any], at: Any, name: str) -> tuple[Any, Any]:
    """The derivatives of fourth and of second order, by the coupling `name`."""
    value = getattr(at, name)
    h = _step(value)
    near, far = (
        function(at._replace(**{name: value + s * h}))
        - function(at._replace(**{name: value - s * h}))
        for s in (1, 2)
    )
    return (8 * near - far) / (12 * h), near / (2 * h)
