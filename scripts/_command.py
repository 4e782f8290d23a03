"""A Click command whose every failure is one line on stderr with the right exit code.

0 done, 1 a failure, 2 wrong usage, 3 finished but unreliable, 75 interrupted and saved.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any, NoReturn

import click

from lattice_flows.io.interrupt import SAVED, Interrupted, leave_at_once
from lattice_flows.runs import compile_cache
from lattice_flows.scripts import _environment, _notes, _options, _streams, _theories
from lattice_flows.scripts._words import as_typed

# The matrices of the exact answers are small: threads of a BLAS only get in each other's way there,
# badly so beside jax's own on a busy machine. To be set before numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# XLA's own log tells of slow compilations, say, as of errors: not in the way of the one line.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

UNRELIABLE = 3
_KEPT = "lattice_flows.cache"
_STOPPED = "interrupted before it was done: run the command again"


class Failure(click.ClickException):
    """One line for the user, settings spelled as flags, and an exit code."""

    def __init__(self, message: str, exit_code: int = 1):
        super().__init__(as_typed(" ".join(message.split())))
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
    """A command of lattice-flows: it answers signals, and keeps what jax compiles."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(
                ["--cache"],
                type=click.Path(path_type=Path, file_okay=False),
                expose_value=False,
                callback=_remember,
                metavar="DIR",
                help=f"Keep compiled programs in DIR.  [default: ${compile_cache.VARIABLE}, "
                "or ~/.cache/lattice-flows/jax]",
            ),
            click.Option(
                ["--no-cache"],
                is_flag=True,
                expose_value=False,
                callback=_remember,
                help="Keep no compiled programs.",
            ),
        ]
        if not any(param.name == "theory" for param in self.params):
            self.params += _theories.options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = _theories.load(ctx, args)
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption:
            try:
                _theories.refuse_unloaded(args)  # which has the flag, perhaps
            except Exception as error:
                _translate(error)
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        if not hasattr(self.callback, _options.TAKES_COUPLINGS):
            return params
        return [*params, *_theories.couplings(ctx, params)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Couplings have a section of their own."""
        own, couplings = [], []
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                (couplings if _options.is_coupling(param) else own).append(record)
        for title, records in (("Options", own), ("Couplings", couplings)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> Any:
        _notes.show()
        with _interruptible():
            _keep_programs(ctx.meta[_KEPT]["cache"], ctx.meta[_KEPT]["no_cache"])
            return super().invoke(ctx)


class Group(OneLineErrors, click.Group):
    """The commands of lattice-flows."""


def _interruptible() -> contextlib.AbstractContextManager[None]:
    """Signals end the command with one line (the main thread alone gets them)."""
    if threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    return leave_at_once(_STOPPED, 1)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Options that are no argument of the commands."""
    ctx.meta.setdefault(_KEPT, {})[param.name] = value


def _keep_programs(folder: Path | None, none: bool) -> None:
    """Let jax keep compiled programs; a folder that can't be used stops nothing."""
    if none:
        compile_cache.do_without()
        return
    folder = folder or compile_cache.default_folder()
    if folder is not None and (trouble := compile_cache.use(folder)):
        click.echo(
            f"note: compiled programs are not kept: {trouble}; give --cache DIR or --no-cache",
            err=True,
        )


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
    from theories.errors import LatticeFlowsError, NotLoaded

    if isinstance(error, Interrupted):
        raise Failure(str(error), SAVED) from error
    if isinstance(error, NotLoaded):
        named = "--theory" if error.is_theory else "--load"
        raise Failure(f"{error.what}: give {named} {error.origin}") from error
    if isinstance(error, LatticeFlowsError):
        raise Failure(str(error)) from error
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):  # numpy's, and XLA's
        why = str(error).partition("\n")[0] or "no more can be had"
        raise Failure(f"out of memory ({why}): ask for less at once") from error
    if switches := _environment.switches():
        why = str(error).partition("\n")[0] or type(error).__name__
        raise Failure(f"jax stops with {switches} ({why}): unset that") from error
    raise error
