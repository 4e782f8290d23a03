"""Remarks of the library, which does not print itself: each is shown once, on stderr."""

import contextlib
import logging

import click

from lattice_flows.scripts._words import as_typed


class Notes(logging.Handler):
    """Shows every record as a line `note: …`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = as_typed(" ".join(record.getMessage().split()))
        if message not in self.shown:
            self.shown.add(message)
            with contextlib.suppress(OSError):  # a full disk behind stderr stops no work
                click.echo(f"note: {message}", err=True)


def show() -> None:
    """Show what the library remarks from now on, each remark once."""
    logger = logging.getLogger("lattice_flows")
    logger.handlers = [h for h in logger.handlers if not isinstance(h, Notes)] + [Notes()]
