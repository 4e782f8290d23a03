"""Plain docstrings and helps as reStructuredText.

Docstrings here are text, with formulas indented and code between backticks. They have no markup of
their own, so that all that reStructuredText would take for some (`*`, `|`, `_`) is escaped.
"""

import inspect
import re
from collections.abc import Iterable

import click

from lattice_flows.scripts import _options

_ITEM = re.compile(r"(- |\w+(, \w+)*: )\S")  # "- a point", or "name, name: what they are"
_INDENTED = re.compile(r"\s")


def of_python(app, what, name, obj, options, lines: list[str]) -> None:
    """A docstring, of autodoc's event; `lines` are changed in place."""
    lines[:] = list(_marked_up(lines))


def of_command(app, ctx: click.Context, lines: list[str]) -> None:
    """The description of a command, its examples in a block of code."""
    text = inspect.cleandoc(ctx.command.help or "").replace("\b\n", "")
    text = re.sub(r"(?m)^(Examples?:)\n", r"\1\n\n", text)
    lines[:] = list(_marked_up(text.splitlines()))


def of_options(app, ctx: click.Context, lines: list[str]) -> None:
    """The options of a command, and below them those that are the couplings of all theories."""
    shown = [p for p in ctx.command.get_params(ctx) if isinstance(p, click.Option) and not p.hidden]
    couplings = [option for option in shown if _options.is_coupling(option)]
    own = [option for option in shown if option not in couplings]
    lines[:] = [line for option in own for line in _option(ctx, option)]
    if couplings:
        lines += [".. rubric:: Couplings", ""]
        lines += [line for option in couplings for line in _option(ctx, option)]


def _option(ctx: click.Context, option: click.Option) -> Iterable[str]:
    """One option, as the help of the command line tells of it."""
    record = option.get_help_record(ctx)
    assert record is not None  # hidden ones are not shown
    spelled, said = record
    if isinstance(option.type, click.Choice):  # the names go below: they are many
        spelled, _, names = spelled.partition(" ")
        said += f" One of {names.strip('[]').replace('|', ', ')}."
    yield from (f".. option:: {spelled}", "", f"   {_escaped(said)}", "")


def _marked_up(lines: Iterable[str]) -> Iterable[str]:
    for block in _blocks(lines):
        if _INDENTED.match(block[0]):  # a formula, or commands
            yield from ("::", "", *(f"   {line}" for line in block))
        elif block[0].rstrip().endswith(":") and all(map(_INDENTED.match, block[1:])) and block[1:]:
            yield from (_escaped(block[0]), "")
            yield from _listed(_dedented(block[1:]))
        elif _is_list(block):
            yield from _listed(block)
        else:
            yield from map(_escaped, block)
        yield ""


def _blocks(lines: Iterable[str]) -> Iterable[list[str]]:
    """Paragraphs; indented ones with the empty lines between them are one."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def _is_list(block: list[str]) -> bool:
    """Whether every line that is not indented begins an item."""
    heads = [line for line in block if not _INDENTED.match(line)]
    return all(map(_ITEM.match, heads))


def _listed(block: list[str]) -> Iterable[str]:
    for line in block:
        head = not _INDENTED.match(line)
        text = _escaped(line.strip().removeprefix("- "))
        yield f"- {text}" if head else f"  {text}"


def _dedented(block: list[str]) -> list[str]:
    least = min(len(line) - len(line.lstrip()) for line in block)
    return [line[least:] for line in block]


def _escaped(line: str) -> str:
    """Text as it is, but for what stands between backticks, which is code."""
    parts = line.split("`")
    if len(parts) % 2 == 0:  # a stray one
        return re.sub(r"([\\*|_`])", r"\\\1", line)
    text = [re.sub(r"([\\*|_])", r"\\\1", part) for part in parts[::2]]
    code = [f"``{part}``" for part in parts[1::2]]
    woven = [text[0]]
    for one, after in zip(code, text[1:], strict=True):
        # what follows code directly must be told apart from it
        woven += [one, rf"\ {after}" if after[:1].isalnum() else after]
    return "".join(woven)
