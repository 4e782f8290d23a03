"""Coupling values as they are typed: 0.5, 0.25:1 (continuous), 0.25:1:16 (a grid), 0.25,0.5,1."""

import itertools
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import click

from lattice_flows.runs.options import flag as spelled

MOST_POINTS = 10_000
"""Of a grid of couplings: each takes from hundredths of a second to minutes."""
_TOO_MANY = f"{MOST_POINTS} coupling points at most"


class Values(NamedTuple):
    """The values of one flag; `continuous` where they are the ends of a range without a count."""

    values: tuple[float, ...]
    continuous: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return min(self.values), max(self.values)


class ValuesType(click.ParamType):
    """A value, LO:HI, LO:HI:COUNT, or a comma list."""

    name = "VALUES"

    def convert(self, value, param, ctx) -> Values:
        if isinstance(value, Values):
            return value
        text = str(value)
        shown = text if len(text) < 60 else f"{text[:60]} …"
        try:
            return _parse(text)
        except ValueError as error:
            self.fail(
                f"{shown!r}: {str(error) or 'not a value, LO:HI, LO:HI:COUNT or a comma list'}"
            )


def _parse(text: str) -> Values:
    parts = text.split(":")
    if len(parts) == 1:
        if re.fullmatch(r"[-+]?0,[0-9]+", text):
            raise ValueError(
                f"a decimal point is needed for one value, {text.replace(',', '.')}; "
                f"for two values write {text.replace(',', '.,')}"
            )
        return Values(tuple(_number(x) for x in text.split(",")))
    if len(parts) > 3:
        raise ValueError
    low, high = _number(parts[0]), _number(parts[1])
    if not low < high:
        raise ValueError("a range must rise from LO to HI")
    if len(parts) == 2:
        return Values((low, high), continuous=True)
    count = int(parts[2][:20]) if re.fullmatch("[0-9]+", parts[2]) else 0
    if count < 2:
        raise ValueError("COUNT must be a whole number from 2 on")
    if count > MOST_POINTS:
        raise ValueError(_TOO_MANY)
    inner = (low + (high - low) * i / (count - 1) for i in range(1, count - 1))
    return Values((low, *inner, high))


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError from None  # the caller says what is understood
    if "_" in text or not text.isascii():  # digits of other scripts, which Python reads
        raise ValueError
    if not math.isfinite(number):
        raise ValueError("a coupling must be finite")
    return number


Given = Mapping[str, Values]
"""What was typed, by flag; flags that were not given are absent."""


def point(theory: str, given: Given) -> dict[str, float]:
    """One value for each coupling given. Raises click.UsageError for more."""
    for flag, typed in given.items():
        if len(typed.values) != 1:
            raise click.UsageError(f"{spelled(flag)} takes a single value here")
    return grid(theory, given)[0]


def grid(theory: str, given: Given) -> list[dict[str, float]]:
    """Every combination of the values given, the last flag running fastest."""
    for flag, typed in given.items():
        if typed.continuous:
            low, high = typed.ends
            raise click.UsageError(
                f"{spelled(flag)} needs a count here, e.g. {spelled(flag)} {low:g}:{high:g}:16"
            )
    names = _couplings_of(theory, given)
    if math.prod(len(typed.values) for typed in given.values()) > MOST_POINTS:
        raise click.UsageError(_TOO_MANY)
    combinations = itertools.product(*(typed.values for typed in given.values()))
    return [
        {name: value for flag, value in zip(given, values, strict=True) for name in names[flag]}
        for values in combinations
    ]


def trained(theory: str, given: Given) -> dict[str, float | tuple[float, float]]:
    """A value or a continuous range for each coupling given."""
    couplings: dict[str, float | tuple[float, float]] = {}
    for flag, names in _couplings_of(theory, given).items():
        typed = given[flag]
        if len(typed.values) > 1 and not typed.continuous:
            low, high = typed.ends
            raise click.UsageError(
                "a flow is trained on a value or a continuous range, "
                f"e.g. {spelled(flag)} {low:g}:{high:g}"
            )
        couplings |= dict.fromkeys(names, typed.ends if typed.continuous else typed.ends[0])
    return couplings


def _couplings_of(theory: str, given: Given) -> dict[str, tuple[str, ...]]:
    """The couplings that each flag sets."""
    import theories

    found = theories.find(theory)
    known, together = found.Couplings._fields, found.together
    names = {flag: together.get(flag, (flag,)) for flag in given}
    seen: set[str] = set()
    for flag, targets in names.items():
        if unknown := [name for name in targets if name not in known]:
            raise click.UsageError(
                f"{theory} has no coupling {unknown[0]}: it has {', '.join(known)}"
            )
        if twice := seen.intersection(targets):
            raise click.UsageError(f"{min(twice)} is given twice: {spelled(flag)} sets it as well")
        seen.update(targets)
    return names
