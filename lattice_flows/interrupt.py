"""Stopping between two steps: a signal sets a flag, and whoever works asks for it when it suits.

Imports nothing heavy, so that the handlers stand before jax is loaded: a batch system may send its
signal right at the start of a job, and the default action would kill it.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(Exception):
    """Work was stopped by a signal, after it was saved: the same command carries it on."""


@contextlib.contextmanager
def deferred(notify: Callable[[str], None] = lambda name: None) -> Iterator[Callable[[], bool]]:
    """Hold back SIGINT, SIGTERM and SIGUSR1; yields a function that says whether one has come.

    `notify` is called once, with the signal's name. A second Ctrl-C acts at once. The former
    handlers are put back at the end. For the main thread, which alone gets signals.
    """
    came: list[int] = []

    def handle(number: int, frame: object) -> None:
        if number == signal.SIGINT and signal.SIGINT in came:
            raise KeyboardInterrupt
        came.append(number)
        if len(came) == 1:
            notify(signal.Signals(number).name)

    former = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler or signal.SIG_DFL)
