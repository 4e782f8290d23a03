"""A number with its standard error."""

from math import floor, isfinite, log10
from typing import NamedTuple


class Estimate(NamedTuple):
    """A number and its standard error (one standard deviation of the estimator)."""

    value: float
    stderr: float

    def as_json(self) -> dict[str, float | None]:
        """The pair as reports have it; what is not finite is null."""
        return {name: x if isfinite(x) else None for name, x in self._asdict().items()}

    def __str__(self) -> str:
        """`value ± stderr`, both cut at the second significant digit of the error."""
        value, stderr = float(self.value), float(self.stderr)
        if not (isfinite(value) and isfinite(stderr)) or stderr <= 0:
            return f"{value:.8g} ± {stderr:.2g}"
        leading = floor(log10(stderr))
        size = floor(log10(max(abs(value), stderr)))
        if leading > -10 and -5 < size < 7:
            places = max(0, 1 - leading)
            return f"{value:.{places}f} ± {stderr:.{places}f}"
        places = size - leading + 1
        scale = 10.0**size
        return f"({value / scale:.{places}f} ± {stderr / scale:.{places}f})e{size:+03d}"
