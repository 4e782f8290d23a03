"""Standard output and standard error that never stand in the way of the work.

What is said on the way is a log: one that nobody can read (closed, a full disk, a lost terminal) is
given up, and the work goes on. What cannot be written in the encoding of the terminal is written in
other words rather than not at all.
"""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, cast

_WORDS = {
    "±": "+/-", "−": "-", "→": "->", "…": "...", "·": "*", "²": "^2", "⁴": "^4", "√": "sqrt ",
    "φ": "phi", "λ": "lambda", "α": "alpha", "β": "beta", "κ": "kappa", "μ": "mu", "χ": "chi",
}  # fmt: skip


class Log:
    """A stream whose failures nobody hears of: what it cannot write is lost."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: it is closed
            silence(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            silence(self._stream)


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """Standard streams that write any character, and a standard error that never fails."""
    _fill_gaps()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)
    former = sys.stderr
    sys.stderr = cast(Any, Log(io.StringIO() if former is None else former))
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = former


def _fill_gaps() -> None:
    """Open the standard streams that this process was started without, to nowhere.

    Else the next file that is opened has their number, and what is said goes into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # has the lowest number that is free
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)


def silence(stream: Any) -> None:
    """Let what is still to be written to a broken stream vanish, at the end of the process too."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _in_words(error: UnicodeError) -> tuple[str | bytes, int]:
    """The characters that an encoding lacks: bytes of file names as they are, others in words."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    if all("\udc80" <= c <= "\udcff" for c in bad):
        return bytes(ord(c) - 0xDC00 for c in bad), error.end
    return "".join(_WORDS.get(c, "?") for c in bad), error.end


_HANDLER = "lattice-flows"
codecs.register_error(_HANDLER, _in_words)
