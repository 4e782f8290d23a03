"""The root of every error this project raises on purpose."""

from __future__ import annotations


class LatticeFlowsError(Exception):
    """Bad input or a failed operation, told in one line that names the remedy.

    Settings stand in backticks, as Python spells them: `m=(0.25, 1)`. Libraries raise it (or a
    subclass); the command line spells them as flags, prints the message and exits 1.
    """


class NotLoaded(LatticeFlowsError):
    """Something of one's own is named that nobody has imported.

    what: it, in words. origin: where it is, FILE.py:NAME. is_theory: whether it is a theory, or a
    part of a flow or its training.
    """

    def __init__(self, what: str, origin: str, *, is_theory: bool):
        self.what = f"{what}, which is not loaded"
        self.origin = origin
        self.is_theory = is_theory
        super().__init__(f"{self.what}: import it")
