"""Messages of the library in the words of the command line.

The library names a setting in backticks, as Python spells it. Here it becomes what is typed:

    `base_curvature`                      --base-curvature
    `objective="trade"`, `m=0.25`         --objective trade, --m 0.25
    `m=(0.25, 1)`, `m=(low, high)`        --m 0.25:1, --m LOW:HIGH
    `extrapolate=True`                    --extrapolate
    `shape=(16,)`, `shape=(8, 8)`         --sites 16, --shape 8x8
    `train(theory, path="runs/cycle")`    lattice-flows train runs/cycle --theory … --sites …
    `train(..., path="r", resume=True)`   lattice-flows train r --resume

Backticks around anything else stay as they are.
"""

import ast
import re
import shlex
import warnings

from lattice_flows.runs.options import flag, show

# as prose has it: not within a word, a path or quotes
_QUOTED = re.compile(r"(?<![^\s(])`([^`]+)`(?![^\s.,;:)])")
_CALLED = {"jax_enable_x64": "x64"}
"""Settings that have another name on the command line."""


def as_typed(message: str) -> str:
    """A message of the library, its settings spelled as flags."""
    return _QUOTED.sub(lambda quoted: _typed(quoted[1]) or quoted[0], message)


def _typed(code: str) -> str | None:
    """What to type for a piece of Python; None for one that is no setting."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in what may not be Python at all
            call = ast.parse(f"_({code})", mode="eval").body
        match call:
            case ast.Call(args=[ast.Name(name)], keywords=[]):
                return _flag(name)
            case ast.Call(args=[], keywords=[setting]):
                return _setting(setting)
            case ast.Call(args=[ast.Call(ast.Name("train"), args, settings)], keywords=[]):
                return _command(args, settings)
    except (SyntaxError, ValueError, TypeError, KeyError, MemoryError, RecursionError):
        pass
    return None


def _flag(name: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError
    return flag(_CALLED.get(name, name))


def _setting(setting: ast.keyword) -> str:
    """NAME=VALUE. Raises ValueError where VALUE is nothing that is typed."""
    name, value = setting.arg or "", setting.value
    if isinstance(value, ast.Constant) and value.value is True:
        return _flag(name)
    if name != "shape":
        return f"{_flag(name)} {_value(value, ':')}"
    line = isinstance(value, ast.Tuple) and len(value.elts) == 1
    return f"{'--sites' if line else '--shape'} {_value(value, 'x')}"


def _value(node: ast.expr, between: str) -> str:
    """A word, a number, a name that stands for one, or several with `between` them."""
    match node:
        case ast.Tuple(parts) if parts:
            return between.join(_value(part, between) for part in parts)
        case ast.Name(name):
            return name.upper()
    value = ast.literal_eval(node)
    if isinstance(value, str):
        return shlex.quote(value)
    if type(value) is int:
        return str(value)
    if isinstance(value, float):
        return show(value)
    raise ValueError


def _command(args: list[ast.expr], settings: list[ast.keyword]) -> str:
    """The command that does what a call of `train` does."""
    given = {setting.arg: setting for setting in settings}
    words = ["lattice-flows train", _value(given.pop("path").value, " ")]
    if any(isinstance(arg, ast.Name) for arg in args):  # a theory, which has its lattice
        words.append("--theory … --sites …")
    return " ".join([*words, *map(_setting, given.values())])
