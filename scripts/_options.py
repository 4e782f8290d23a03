"""The options that commands share. Nothing heavy is imported with this module."""

import functools
import itertools
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lattice_flows.runs.options import flag
from lattice_flows.scripts._values import ValuesType

if TYPE_CHECKING:
    import jax

    from observables import Observable
    from theories import Theory


def common(command: Callable) -> Callable:
    """--json, --seed, --config: understood by every command, passed on as `as_json` and `seed`."""
    for option in reversed(
        (
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
            click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Random seed."),
            click.option(
                "--config",
                type=click.Path(path_type=Path),
                is_eager=True,
                expose_value=False,
                callback=_read_defaults,
                metavar="FILE",
                help="JSON object of option values; flags have the last word.",
            ),
        )
    ):
        command = option(command)
    return command


def x64(command: Callable) -> Callable:
    """--x64, which acts here."""

    @click.option("--x64", is_flag=True, help="Work in double precision.")
    @functools.wraps(command)
    def wrapper(*args: Any, x64: bool, **kwargs: Any) -> Any:
        if x64:
            use_double_precision()
        return command(*args, **kwargs)

    return wrapper


def field_precision(command: Callable) -> Callable:
    """--x64 of the commands that sample, passed on as `double`. Densities are always in float64."""

    @click.option("--x64", "double", is_flag=True, help="Evaluate the field in float64, too.")
    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        use_double_precision()
        return command(*args, **kwargs)

    return wrapper


def draws(command: Callable) -> Callable:
    """-n COUNT, passed on as `n`."""
    return click.option(
        "-n",
        type=click.IntRange(2, 10**12),
        default=4096,
        show_default=True,
        metavar="COUNT",
        help="Configurations drawn (at each coupling point).",
    )(command)


extrapolate = click.option(
    "--extrapolate", is_flag=True, help="Insist on couplings the run was not trained on."
)


def use_double_precision() -> None:
    """Let jax compute in float64; before any array is made."""
    import jax

    jax.config.update("jax_enable_x64", True)


_COUPLING = "coupling_"


def couplings(command: Callable) -> Callable:
    """The coupling flags, passed on as one `given` dict of what was typed.

    The flags are those of all theories that are known when the command is parsed: `Command` adds
    them (`coupling_options`).
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        names = [name for name in kwargs if name.startswith(_COUPLING)]
        typed = {name.removeprefix(_COUPLING): kwargs.pop(name) for name in names}
        given = {name: values for name, values in typed.items() if values is not None}
        return command(*args, given=given, **kwargs)

    setattr(wrapper, TAKES_COUPLINGS, True)
    return wrapper


TAKES_COUPLINGS = "takes_couplings"


def is_coupling(param: click.Parameter) -> bool:
    """Whether a flag is one of `coupling_options`."""
    return (param.name or "").startswith(_COUPLING)


def coupling_options(theories: Iterable["type[Theory]"], shown: str | None) -> list[click.Option]:
    """A flag for each coupling of the `theories`, and what it is in each of them.

    Help tells of those of the theory called `shown`, of all where that is None.
    """
    helps: dict[str, dict[str, list[str]]] = {}
    for theory in theories:
        told = {name: fact.help for name, fact in theory.facts().items()}
        told |= {name: " and ".join(targets) for name, targets in theory.together.items()}
        for name, help in told.items():
            helps.setdefault(name, {}).setdefault(help, []).append(theory.name)
    return [
        click.Option(
            [flag(name), _COUPLING + name],
            type=ValuesType(),
            help="; ".join(f"{', '.join(names)}: {help}" for help, names in meanings.items()) + ".",
            hidden=shown is not None and shown not in itertools.chain(*meanings.values()),
        )
        for name, meanings in helps.items()
    ]


class ChoiceType(click.Choice):
    """One of several names, or, from `outside`, a part of one's own, FILE.py:NAME, which is loaded.

    formerly: names of older versions, and those that stand for them now.
    """

    def __init__(self, choices: Sequence[str], formerly: Mapping[str, str], outside: bool):
        super().__init__(choices)
        self._formerly, self._outside = formerly, outside

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        from theories import outside
        from theories.errors import LatticeFlowsError

        value = self._formerly.get(value, value)
        if not (self._outside and isinstance(value, str) and outside.is_outside(value)):
            return super().convert(value, param, ctx)
        try:
            return outside.home(outside.run(value))
        except LatticeFlowsError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: Any, ctx: Any) -> str:
        own = ("FILE.py:NAME",) if self._outside else ()
        return f"[{'|'.join((*self.choices, *own))}]"


def lattice(command: Callable) -> Callable:
    """--sites N or --shape LxL, passed on as one `shape` (None where neither is given)."""

    @click.option("--sites", type=int, metavar="N", help="Sites of a one-dimensional lattice.")
    @click.option("--shape", "sizes", metavar="LxL", help="Lattice of several dimensions.")
    @functools.wraps(command)
    def wrapper(*args: Any, sites: int | None, sizes: str | None, **kwargs: Any) -> Any:
        if sites is not None and sizes is not None:
            raise click.UsageError("give --sites or --shape, not both")
        if sizes is not None and not re.fullmatch(r"[0-9]+(x[0-9]+){0,7}", sizes):
            raise click.UsageError(f"--shape is written 8x8 (8 sides at most), not {sizes!r}")
        shape = None
        if sites is not None:
            shape = (sites,)
        elif sizes is not None:
            shape = tuple(int(n[:20]) for n in sizes.split("x"))
        if shape is not None:
            from lattice_flows.runs.resources import refuse_sites

            refuse_sites(shape)
        return command(*args, shape=shape, **kwargs)

    return wrapper


def output(
    help: str,
    *,
    required: bool = False,
    resumable: bool = False,
    suffixes: tuple[str, ...] = (".nc", ".json"),
) -> Callable[[Callable], Callable]:
    """-o FILE and --overwrite, passed on as `output`: a path that may be written, or None.

    Its ending is one of `suffixes`, if it has any: another would promise what is not written. What
    is `required` is an ensemble, which JSON does not hold. What is `resumable` has --resume, which
    is passed on, and with it may exist.
    """
    if required:
        suffixes = (".nc",)

    def decorate(command: Callable) -> Callable:
        @click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            required=required,
            metavar="FILE",
            help=help,
        )
        @click.option("--overwrite", is_flag=True, help="Replace files that exist.")
        @functools.wraps(command)
        def wrapper(*args: Any, output: Path | None, overwrite: bool, **kwargs: Any) -> Any:
            if required and output is not None and output.suffix == ".json":
                raise click.UsageError(
                    f"an ensemble is netCDF: name it {output.with_suffix('.nc')}"
                )
            if resumable and kwargs.get("resume") and output is None:
                raise click.UsageError("--resume goes on with what -o FILE was begun with: give it")
            if output is not None:
                resumed = kwargs.get("resume", False) and output.exists()
                refuse_existing(output, overwrite or resumed)
                if suffixes and output.suffix not in ("", *suffixes):
                    raise click.UsageError(
                        f"{output} would not hold what its name says: end it in "
                        f"{' or '.join(suffixes)}"
                    )
            return command(*args, output=output, overwrite=overwrite, **kwargs)

        if resumable:
            wrapper = click.option(
                "--resume", is_flag=True, help="Go on with what an interrupted command has drawn."
            )(wrapper)
        return wrapper

    return decorate


Own = tuple["Observable", ...]
"""What `observables` passes on."""


def observables(command: Callable) -> Callable:
    """--observable FILE.py:NAME, observables of one's own, passed on as `own`."""
    return click.option(
        "--observable",
        "own",
        multiple=True,
        callback=_observables,
        metavar="FILE.py:NAME",
        help="Measure an observable of your own, too. May be given several times.",
    )(command)


def _observables(ctx: click.Context, param: click.Parameter, named: tuple[str, ...]) -> Own:
    if not named:
        return ()
    from observables import Observable
    from theories import outside
    from theories.errors import LatticeFlowsError

    found = []
    for one in named:
        try:
            observable = outside.run(one)
        except LatticeFlowsError as error:
            raise click.BadParameter(str(error), ctx, param) from error
        if not isinstance(observable, Observable):
            raise click.BadParameter(f"{one} is no Observable", ctx, param)
        found.append(observable)
    return tuple(found)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse an output that exists, before any work is done."""
    from lattice_flows.io.netcdf import refuse_existing

    refuse_existing(path, overwrite)


def refuse_figure(figure: Path, output: Path | None, overwrite: bool) -> None:
    """Refuse a figure that can't be written, before any work is done."""
    if output is not None and figure.resolve() == output.resolve():
        raise click.UsageError(f"-o and --plot both name {figure}: give each a file of its own")
    refuse_existing(figure, overwrite)
    from lattice_flows.figures.plots import figure_format

    figure_format(figure)


def command_key(command: str, seed: int | None) -> "jax.Array":
    """The root of a command's random numbers, a stream of its own for each command and seed.

    A training has the plain key of its seed: what samples its flow must not draw the same numbers.
    """
    import jax
    import numpy as np

    from lattice_flows.io.provenance import use_seed

    use_seed(seed or 0)
    return jax.random.fold_in(jax.random.key(seed or 0), np.uint32(zlib.crc32(command.encode())))


def _read_defaults(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Take a JSON file's values as the defaults of the options."""
    if path is None:
        return
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise ValueError(f"longer than {_LONGEST} characters")
        values = json.loads(text)
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}", ctx) from error
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{path} is not JSON of option values: {error}", ctx) from error
    if not isinstance(values, dict):
        raise click.UsageError(f"{path} must hold one JSON object of option values", ctx)
    options = {
        spelling.lstrip("-"): option
        for option in ctx.command.get_params(ctx)
        for spelling in option.opts
        if isinstance(option, click.Option) and option.name != "config"
    }
    ctx.default_map = {}
    for key, value in values.items():
        option = options.get(key.replace("_", "-"))
        if option is None:
            raise click.UsageError(f"{path} sets {key}, which this command does not have", ctx)
        if wanted := _misfit(option, value):
            shown = json.dumps(value)
            shown = shown if len(shown) < 60 else f"{shown[:60]} …"
            raise click.UsageError(f"{path}: {key} must be {wanted}, not {shown}", ctx)
        ctx.default_map[option.name] = value


_LONGEST = 10**6


def _misfit(option: click.Option, value: Any) -> str | None:
    """What a value of an option must be, where this one is not that; click itself would bend it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if option.is_flag:
        return None if isinstance(value, bool) else "true or false"
    if isinstance(value, str):
        return None if _is_plain(value) else "text without control characters"
    if isinstance(option.type, click.types.IntParamType):
        return None if number and isinstance(value, int) else "a whole number"
    if isinstance(option.type, click.types.FloatParamType):
        return None if number else "a number"
    if isinstance(option.type, ValuesType):
        return None if number else "a number, or text such as 0.25:1"
    return "text"


def _is_plain(text: str) -> bool:
    """Whether text can be an argument of a process."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
