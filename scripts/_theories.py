"""Theories on the command line: one's own, by --theory FILE.py:CLASS, and the flags of couplings.

Which flags there are depends on the theory, so the arguments are looked through for one before they
are parsed. The file is run then, and from there on its theory goes by its name like any other.
"""

import re
from collections.abc import Callable
from typing import Any

import click

from lattice_flows.scripts import _options

# FILE.py:CLASS, or MODULE:CLASS with a module that can be imported
_CLASS = re.compile(r".+\.py:\w+|[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*")
_SHOWN = "lattice_flows.theory"


def options() -> list[click.Option]:
    """--theory and --load of commands that read the names of theory and parts in a run or file."""
    theory = click.Option(
        ["--theory"],
        expose_value=False,
        metavar="FILE.py:CLASS",
        help="Where the theory is, if it is one of your own.",
    )
    parts = click.Option(
        ["--load"],
        multiple=True,
        expose_value=False,
        callback=_run,
        metavar="FILE.py:NAME",
        help="A field, say, of your own that the run was trained with.",
    )
    return [theory, parts]


def _run(ctx: click.Context, param: click.Parameter, named: tuple[str, ...]) -> None:
    """Load parts of one's own."""
    from theories import outside
    from theories.errors import LatticeFlowsError

    try:
        for one in named:
            outside.run(one)
    except LatticeFlowsError as error:
        raise click.UsageError(str(error), ctx) from error


def named(command: Callable) -> Callable:
    """--theory of `train`, passed on."""
    return click.option(
        "--theory", metavar="NAME", help="Name of a theory, or one of your own: FILE.py:CLASS."
    )(command)


def load(ctx: click.Context, args: list[str]) -> list[str]:
    """The arguments with the class of a theory, which is loaded, replaced by its name."""
    first = any(p.name == "theory" and isinstance(p, click.Argument) for p in ctx.command.params)
    args = list(args)
    for place, word in enumerate(args):
        before = args[place - 1] if place else ""
        prefix = "--theory=" if word.startswith("--theory=") else ""
        alone = first and not word.startswith("-") and before not in ("--observable", "--load")
        if prefix or before == "--theory" or alone:
            args[place] = prefix + _name(ctx, word.removeprefix(prefix))
    return args


def _name(ctx: click.Context, named: str) -> str:
    """The name of a theory, of its class where that is given."""
    import theories
    from theories.errors import LatticeFlowsError

    if not _CLASS.fullmatch(named):
        if named in theories.known():
            ctx.meta[_SHOWN] = named
        return named
    try:
        found = theories.load(named, theories.Theory)
        theories.refuse_nameless(found)
    except LatticeFlowsError as error:
        raise click.UsageError(str(error), ctx) from error
    ctx.meta[_SHOWN] = found.name
    return found.name


def refuse_unloaded(args: list[str]) -> None:
    """Raise NotLoaded where one of the arguments is a run of a theory that is not loaded."""
    from lattice_flows.runs.run import Run

    for word in args:
        if Run.exists(word):
            Run.open(word)


def couplings(ctx: click.Context, others: list[click.Parameter]) -> list[click.Parameter]:
    """The flags of the couplings of all theories, for a command that has these `others`."""
    import theories

    made: list[Any] = _options.coupling_options(theories.known().values(), ctx.meta.get(_SHOWN))
    taken = {spelling for other in others for spelling in (*other.opts, *other.secondary_opts)}
    for one in made:
        if both := taken.intersection(one.opts):
            raise click.UsageError(f"a coupling is called as the option {min(both)} is: rename it")
    return made
