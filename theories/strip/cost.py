"""What a solution takes on one core, about: measured on 8 × 8 with 6 nodes a site."""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    seconds: float
    gigabytes: float


def cost(length: int, width: int, n: int, magnetization: bool) -> Cost:
    """Of `length` rows of `width` sites with `n` nodes each: of P(M), or of all else."""
    states = float(n) ** width
    # T applied to a function, which is split into its parts and put together again.
    step = 1e-9 * states * (0.03 * width * n * n + 30)
    # 28 values of k; of each some functions go half the way, and are gone after a few rows. Mostly
    # they are in single precision.
    steps = 28 * 10 * min(length / 2, 8) if magnetization else 150 + 28 * min(length, 20)
    return Cost(0.03 + step * steps, 200e-9 * states)
