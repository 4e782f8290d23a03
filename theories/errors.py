"""The root of every error this project raises on purpose."""

from __future__ import annotations


class LatticeFlowsError(Exception):
    """Bad input or a failed operation, told in one line that names the remedy.

    Libraries raise it (or a subclass); the command line prints the message and exits 1.
    """
