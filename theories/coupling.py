"""What a theory says of its couplings, written where they are declared:

    class Phi4Couplings(NamedTuple):
        m: Annotated[float, Coupling("m", "minus the bare mass squared")] = 0.5
        lam: Annotated[float, Coupling(r"\\lambda", "quartic coupling", positive=True)] = 1 / 16

The command line, figures, files and the rules of a training read it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_type_hints


@dataclass(frozen=True)
class Coupling:
    """The facts of one coupling.

    symbol: LaTeX, without the dollar signs. help: a phrase. positive: it must be above 0.
    odd: it changes sign under φ → -φ (a spurion). logarithmic: fields see, and points are drawn
    evenly in, its logarithm. inverse_temperature: S is proportional to it.
    """

    symbol: str
    help: str = ""
    positive: bool = False
    odd: bool = False
    logarithmic: bool = False
    inverse_temperature: bool = False

    @classmethod
    def called(cls, name: str) -> Coupling:
        """That of a coupling that says nothing of itself: its name."""
        return cls(rf"\mathrm{{{name.replace('_', chr(92) + '_')}}}")


@cache
def facts(couplings: type) -> dict[str, Coupling]:
    """The facts of each coupling of a NamedTuple class, in its order.

    One that says nothing of itself has its name as symbol.
    """
    hints = get_type_hints(couplings, include_extras=True)
    return {name: _fact(name, hints[name]) for name in getattr(couplings, "_fields", ())}


def _fact(name: str, hint: Any) -> Coupling:
    said = [x for x in get_args(hint) if isinstance(x, Coupling)]
    return said[0] if said else Coupling.called(name)
