"""A Click command whose every failure is one line on stderr with the right exit code.

0 done, 1 a failure, 2 wrong usage, 3 finished but unreliable, 75 interrupted and saved.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

import click

from lattice_flows.scripts import _environment, _streams

# The matrices of the exact answers are small: threads of a BLAS only get in each other's way there,
# badly so beside jax's own on a busy machine. To be set before numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

UNRELIABLE, INTERRUPTED = 3, 75
_STOPPED = "interrupted before it was done: run the command again"


class Failure(click.ClickException):
    """One line for the user, and an exit code."""

    def __init__(self, message: str, exit_code: int = 1):
        super().__init__(" ".join(message.split()))
        vars(self)["exit_code"] = exit_code  # a class attribute in Click


class OneLineErrors(click.Command):
    """A command whose library errors and wrong usage become a `Failure`.

    Flags may be written with _ for -.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.context_settings.setdefault("token_normalize_func", _dashed)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        _environment.settle()
        with _streams.forgiving():
            return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise _usage(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _usage(error) from error
        except (click.ClickException, click.exceptions.Exit):
            raise  # said already
        except BrokenPipeError:
            raise  # the reader has gone: Click ends quietly
        except OSError as error:
            raise Failure(f"{error.filename or 'a file'}: {error.strerror or error}") from error
        except KeyboardInterrupt:
            raise Failure(_STOPPED) from None
        except Exception as error:
            _translate(error)


class Command(OneLineErrors):
    """A command of lattice-flows."""

    def invoke(self, ctx: click.Context) -> Any:
        with _interruptible():
            return super().invoke(ctx)


class Group(OneLineErrors, click.Group):
    """The commands of lattice-flows."""


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, but leave at once where that would come to nothing.

    While modules are loaded it leaves them in pieces, and callbacks of jax lose it: a second Ctrl-C
    gets through.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield  # jobs in the background ignore Ctrl-C; the main thread alone gets signals
        return
    came = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came or _loading(frame):
            os.write(2, f"Error: {_STOPPED}\n".encode())
            os._exit(1)
        came = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _loading(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _dashed(token: str) -> str:
    return token.replace("_", "-")


def _usage(error: click.UsageError) -> Failure:
    where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
    return Failure(error.format_message() + where, exit_code=2)


def _translate(error: Exception) -> NoReturn:
    """Raise a library's error as a Failure, and a defect of the program as it is."""
    if why := _environment.explain(error):
        raise Failure(why) from error
    # imported here only: --help must not wait for jax
    from lattice_flows.interrupt import Interrupted
    from theories.errors import LatticeFlowsError

    if isinstance(error, Interrupted):
        raise Failure(str(error), INTERRUPTED) from error
    if isinstance(error, LatticeFlowsError):
        raise Failure(str(error)) from error
    raise error
