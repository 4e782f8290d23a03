"""A number with its standard error, and intervals that need no normal distribution."""

from collections.abc import Mapping, Sequence
from math import copysign, floor, hypot, inf, isfinite, log10, nan
from typing import Any, NamedTuple

Interval = tuple[float, float]

# An interval whose ends are further than this from value ± stderr, relative, is shown.
_NOTICEABLE = 0.15


class _Pair(NamedTuple):
    value: float
    stderr: float


class Estimate(_Pair):
    """A number and its standard error (one standard deviation of the estimator): a pair.

    interval_68, interval_95: what holds the true value in 68.3 % and 95.4 % of repetitions, as
    value ± stderr and value ± 2 stderr do for a normal distribution; None where not known.
    """

    interval_68: Interval | None
    interval_95: Interval | None

    def __new__(
        cls,
        value: float,
        stderr: float,
        interval_68: Interval | None = None,
        interval_95: Interval | None = None,
    ) -> "Estimate":
        pair = super().__new__(cls, value, stderr)
        pair.interval_68, pair.interval_95 = interval_68, interval_95
        return pair

    def moved(self, by: float) -> "Estimate":
        """The estimate of what is larger by a known number."""
        ends = {name: (low + by, high + by) for name, (low, high) in self.intervals.items()}
        return Estimate(self.value + by, self.stderr, **ends)

    def deviations(self, reference: "Estimate") -> float:
        """How far it lies above a reference, in standard deviations of a normal distribution.

        Where intervals are known these are the scale: one reaches to the end of interval_68, two to
        that of interval_95, and so on in steps of the second. Else that is
        (value - reference) / stderr. The error of the reference adds in squares.
        """
        distance = self.value - reference.value
        below = distance > 0
        one, two = self.stderr, 2 * self.stderr
        if self.interval_68 is not None and self.interval_95 is not None:
            ends = (
                interval[0 if below else 1] for interval in (self.interval_68, self.interval_95)
            )
            one, two = (abs(self.value - end) for end in ends)
        one, two = hypot(one, reference.stderr), hypot(two, 2 * reference.stderr)
        return copysign(_deviations(abs(distance), one, two), distance)

    @property
    def intervals(self) -> dict[str, Interval]:
        """The intervals that are known, by name."""
        ends = {"interval_68": self.interval_68, "interval_95": self.interval_95}
        return {name: x for name, x in ends.items() if x is not None}

    def as_json(self) -> dict[str, Any]:
        """The pair, and the intervals if any, as reports have it; what is not finite is null."""
        pair = {name: x if isfinite(x) else None for name, x in self._asdict().items()}
        return pair | {name: list(x) for name, x in self.intervals.items()}

    @classmethod
    def from_json(cls, pair: Mapping[str, Any]) -> "Estimate":
        """The estimate of a report. A value that is null is NaN, an error that is, infinite."""
        value, stderr = pair["value"], pair["stderr"]
        ends = {name: tuple(x) for name, x in pair.items() if name.startswith("interval_")}
        return cls(nan if value is None else value, inf if stderr is None else stderr, **ends)

    def __str__(self) -> str:
        """`value ± stderr`, both cut at the second significant digit of the error.

        Followed by the ends of the interval of 68 %, relative to the value, where they are not ±
        stderr by far.
        """
        value, stderr = float(self.value), float(self.stderr)
        if not (isfinite(value) and isfinite(stderr)) or stderr <= 0:
            return f"{value:.8g} ± {stderr:.2g}"
        below, above = self._arms()
        uneven = max(abs(below / stderr - 1), abs(above / stderr - 1)) > _NOTICEABLE
        leading = floor(log10(stderr))
        size = floor(log10(max(abs(value), stderr)))
        if leading > -10 and -5 < size < 7:
            places, scale, power = max(0, 1 - leading), 1.0, ""
        else:
            places, scale, power = size - leading + 1, 10.0**size, f"e{size:+03d}"
        pair = f"{value / scale:.{places}f} ± {stderr / scale:.{places}f}"
        if uneven:
            arms = f"{-below / scale:+.{places}f} {above / scale:+.{places}f}"
            pair += f" (68 %: {arms})"
        return f"({pair}){power}" if power else pair

    def _arms(self) -> tuple[float, float]:
        """How far the interval of 68 % reaches below the value and above."""
        if self.interval_68 is None:
            return self.stderr, self.stderr
        low, high = self.interval_68
        return self.value - low, high - self.value


def _deviations(distance: float, one: float, two: float) -> float:
    """Where `one` is 1 and `two` is 2: along a line from 0 to the first, and one through both."""
    if one == 0:
        return inf if distance else 0.0
    if distance < one or two <= one:
        return distance / one
    return 1 + (distance - one) / (two - one)


Detail = Estimate | float | str | Sequence[str] | Mapping[str, Any] | None
"""What there is to say of a result besides its estimates."""


def plain(details: Mapping[str, Detail]) -> dict[str, Any]:
    """Details as JSON has them: an estimate is NAME and NAME_stderr, what is not finite null."""
    found: dict[str, Any] = {}
    for name, detail in details.items():
        if isinstance(detail, Estimate):
            found |= {name: _finite(detail.value), f"{name}_stderr": _finite(detail.stderr)}
        else:
            found[name] = _finite(detail) if isinstance(detail, float) else detail
    return found


def _finite(number: float) -> float | None:
    return float(number) if isfinite(number) else None
