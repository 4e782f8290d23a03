"""What comes from outside: classes in a user's own file, and in packages that are installed.

A class is named as it is found, `my_theory.py:Anharmonic` or `package.module:Anharmonic`. Loading
it runs the file. So it is done only where a person has named the file; data files name theories,
too, and nothing is ever loaded because they do.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from .errors import LatticeFlowsError, NotLoaded

Contract = TypeVar("Contract")

_run: dict[str, str] = {}  # files, and the SHA-256 of each


def load(named: str, contract: type[Contract]) -> type[Contract]:
    """The subclass of `contract` that `named` tells: FILE.py:CLASS or MODULE:CLASS.

    Raises LatticeFlowsError, one line, where there is no such file or class, where running the file
    fails, and for a class that does not fulfil the contract.
    """
    found = run(named)
    if not (isinstance(found, type) and issubclass(found, contract)):
        raise LatticeFlowsError(f"{named} is not a subclass of {contract.__name__}")
    lacking = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
    if lacking:
        raise LatticeFlowsError(f"{named} lacks {lacking}: a {contract.__name__} must have it")
    return found


Part = TypeVar("Part")


def part(named: str, table: Mapping[str, Part]) -> Part:
    """What `named` says: an entry of a `table`, or FILE.py:NAME of a file that is imported.

    Raises LatticeFlowsError where it is neither.
    """
    return imported(named) if is_outside(named) else table[named]


def is_outside(named: str) -> bool:
    """Whether a name tells of something from outside."""
    return ":" in named


def run(named: str) -> Any:
    """What FILE.py:NAME or MODULE:NAME tells, the file being run where it is not imported yet.

    Raises LatticeFlowsError, one line, where there is no such thing, or running the file fails.
    """
    source, _, name = named.rpartition(":")
    if not source or not name.isidentifier():
        raise LatticeFlowsError(f"{named!r} names nothing in a file: write FILE.py:NAME")
    module = _from_file(Path(source)) if source.endswith(".py") else _module(source)
    if not hasattr(module, name):
        raise LatticeFlowsError(f"{source} has no {name}")
    return getattr(module, name)


def imported(named: str) -> Any:
    """What FILE.py:NAME or MODULE:NAME tells, of a module that is imported already.

    Raises LatticeFlowsError where it is not.
    """
    source, _, name = named.rpartition(":")
    stem = Path(source).stem if source.endswith(".py") else source
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if main is not None and Path(main).name == Path(source).name:
        stem = "__main__"
    found: Any = sys.modules.get(stem)
    for step in name.split("."):
        found = getattr(found, step, None)
    if found is None:
        raise NotLoaded(f"{named} is a part of your own", named, is_theory=False)
    return found


def subclasses(contract: type[Contract]) -> Iterator[type[Contract]]:
    """Every class that fulfils a contract and is imported, in the order of their definition."""
    for found in contract.__subclasses__():
        if not inspect.isabstract(found):
            yield found
        yield from subclasses(found)


def installed(group: str, name: str) -> Any:
    """What an installed package offers by that name in an entry point group, or None."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=group, name=name):
        try:
            return entry.load()
        except Exception as error:  # code of others, which may raise anything
            raise LatticeFlowsError(f"{entry.value} can't be imported: {error}") from error
    return None


def home(found: Any) -> str:
    """Where a class or function is from, as `run` takes it: FILE.py:NAME outside of packages."""
    module = sys.modules.get(found.__module__)
    file = getattr(module, "__file__", None)
    own = file is not None and "." not in found.__module__
    return f"{Path(file).name if own and file else found.__module__}:{found.__qualname__}"


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # code of others, which may raise anything
        raise LatticeFlowsError(f"{name} can't be imported: {said(error)}") from error


def _from_file(path: Path) -> ModuleType:
    """The module of a file; the one that is imported already where it is of this file."""
    if not path.is_file():
        raise LatticeFlowsError(f"there is no file {path}")
    known = sys.modules.get(path.stem)
    if known is not None:
        file = getattr(known, "__file__", None)
        if file is not None and Path(file).resolve() == path.resolve():
            return known
        raise LatticeFlowsError(f"{path} is called like the module {path.stem}: rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # its name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.resolve().parent))  # it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[path.stem]
        if not isinstance(error, Exception):
            raise
        raise LatticeFlowsError(f"{path} can't be imported: {said(error)}") from error
    finally:
        sys.path.pop(0)
    _run[path.name] = sha256(path.read_bytes()).hexdigest()
    return module


def code() -> dict[str, str]:
    """Every file that was run, by its name, with its SHA-256."""
    return dict(_run)


def said(error: Exception) -> str:
    """An error in a line, and where it was raised."""
    trace, where = error.__traceback__, ""
    while trace is not None:
        where = f"{Path(trace.tb_frame.f_code.co_filename).name} line {trace.tb_lineno}"
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno:
        where = f"line {error.lineno}"
    return f"{type(error).__name__}: {error}, {where}"
