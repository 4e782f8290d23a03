"""Signals: work that stops between two steps, and a process that leaves at once where it cannot.

Python runs a signal's handler between two of its own instructions. While jax compiles or computes
that may be minutes away. So a *watcher*, a thread of its own, is woken by the C-level handler
through a pipe (`signal.set_wakeup_fd`) and ends the process where the main thread does not answer.
It never does so while a file is being written (`writing`), so that nothing is left half done.

Imports nothing heavy, so that the handlers stand before jax is loaded: a batch system may send its
signal right at the start of a job, and the default action would kill it.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP", "SIGXCPU")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""What asks a process to stop: Ctrl-C, the batch systems' signals, a terminal that has gone."""
PATIENCE = 4.0  # seconds from a signal to the end of a process whose main thread does not answer
_AT_ONCE = 1.0  # seconds that a second Ctrl-C gives it
SAVED = 75  # exit code of work that is interrupted and saved
_SHOW_CURSOR = "\r\x1b[?25h"  # a progress bar hides it

_lock = threading.RLock()


class Interrupted(Exception):
    """Work was stopped by a signal, after it was saved: the same command carries it on."""


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Keep the watcher from ending the process within the block, or the function it decorates."""
    with _lock:
        yield


@contextlib.contextmanager
def deferred(
    notify: Callable[[str], None] = lambda name: None,
    abandon: Callable[[], str] | None = None,
) -> Iterator[Callable[[], bool]]:
    """Hold back the `SIGNALS`; yields a function that says whether one has come.

    `notify` is called once, with the signal's name. With `abandon`, a main thread that neither asks
    nor leaves the block within `PATIENCE` seconds of a signal is given up: the line that `abandon`
    gives is printed and the process ends with exit code 75. `abandon` is called by another thread.

    A second Ctrl-C acts at once. A SIGHUP that is ignored (nohup) stays so. The former handlers are
    put back at the end. For the main thread, which alone gets signals.
    """
    came: list[int] = []
    asked_for = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT in came:
            raise KeyboardInterrupt
        came.append(number)
        if len(came) == 1:
            notify(signal.Signals(number).name)

    def interrupted() -> bool:
        if came:
            asked_for.set()
        return bool(came)

    hung_up = getattr(signal, "SIGHUP", None)
    taken = [n for n in SIGNALS if n != hung_up or signal.getsignal(n) != signal.SIG_IGN]
    watcher = _unwatched()
    if abandon is not None:
        watcher = _watcher(PATIENCE, asked_for.is_set, _leaving(abandon, SAVED))
    with watcher, _handlers(taken, handle):
        yield interrupted


@contextlib.contextmanager
def leave_at_once(line: str, code: int) -> Iterator[None]:
    """Any of the `SIGNALS` ends the process with `line` and exit code `code`, whatever it does.

    For work that keeps nothing. Nothing is unwound: an exception would be lost in callbacks of jax,
    leave modules that are being loaded in pieces, and end the interpreter while threads of jax
    compute (a segmentation fault). What is ignored stays so: jobs in the background ignore Ctrl-C.
    A `deferred` within the block has precedence.
    """
    came: list[int] = []
    leave = _leaving(lambda: line, code)
    taken = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    with _watcher(0, lambda: False, leave), _handlers(taken, lambda n, frame: came.append(n)):
        try:
            yield
        finally:
            if came:  # and the watcher was not as fast
                leave()


def _leaving(line: Callable[[], str], code: int) -> Callable[[], NoReturn]:
    """A function that prints the line and ends the process, whichever thread calls it first."""
    first = threading.Lock()

    def leave() -> NoReturn:
        first.acquire()
        text = _SHOW_CURSOR * os.isatty(2) + f"Error: {line()}\n"
        with contextlib.suppress(OSError):  # nobody reads it
            os.write(2, text.encode(errors="replace"))
        os._exit(code)

    return leave


@contextlib.contextmanager
def _handlers(
    numbers: Sequence[int], handle: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """`handle` these signals within the block."""
    former = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def _unwatched() -> Iterator[None]:
    """No watcher within the block, not that of a block around it either."""
    former = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(former, warn_on_full_buffer=False)


@contextlib.contextmanager
def _watcher(
    patience: float, answered: Callable[[], bool], leave: Callable[[], NoReturn]
) -> Iterator[None]:
    """A thread that calls `leave`, `patience` seconds after a signal that is not `answered`.

    It waits for files to be written, and after a second SIGINT for nothing.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        deadline, interrupts = None, 0
        while True:
            wait = None if deadline is None else max(0, deadline - time.monotonic())
            if select.select([reader], [], [], wait)[0]:
                if not (read := os.read(reader, 1)):
                    return  # the block is left
                if read[0] not in SIGNALS:
                    continue
                interrupts += read[0] == signal.SIGINT
                if interrupts > 1:
                    deadline = time.monotonic() + min(patience, _AT_ONCE)
                elif deadline is None:
                    deadline = time.monotonic() + patience
            elif interrupts < 2 and answered():
                deadline = None  # the main thread is at it
            elif interrupts > 1:
                leave()
            elif _lock.acquire(timeout=0.1):
                if not answered():
                    leave()
                _lock.release()

    thread = threading.Thread(target=watch, daemon=True)
    former = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(former, warn_on_full_buffer=False)
        os.close(writer)
        thread.join()
        os.close(reader)
