"""What is measured on a theory: averages over draws, and functions of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theories import Theory

LOG_Z = "logarithm of the partition function, log of the integral of exp(-S)"

TARGET_SYMBOLS = {
    "mean": r"\langle x\rangle",
    "second_moment": r"\langle x^2\rangle",
    "positive_well": r"P(x_0>0)",
    "log_z": r"\log Z",
}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quantities:
    """The observables of a theory.

    long_names: what files call them, by name and in the order of every table; `log_z`, which comes
        from the weights alone, is the last.
    symbols: in LaTeX, by name; not all have one.
    samples: (couplings, configurations (n, *shape), orbit) -> (n, k), what is averaged. `orbit` is
        whether it is averaged over φ → -φ first, where that is known to leave E_p alone.
    values: averages (..., k) -> observables (..., p), without log_z; analytic, and good for complex
        numbers.
    action_density: the column of `samples` that is S/V, the only one that depends on the couplings
        themselves; None where there is none.
    """

    long_names: Mapping[str, str]
    symbols: Mapping[str, str]
    samples: Callable[[Any, Array, bool], Array]
    values: Callable[[Array], Array]
    action_density: int | None = None


def target_quantities(theory: Theory) -> Quantities:
    """The observables of a target that is not on a lattice: two moments and the mode weights."""
    names = theory.mode_names

    def samples(couplings: Any, phi: Array, orbit: bool) -> Array:
        flat = phi.reshape(len(phi), -1)
        moments = np.stack([flat.mean(axis=1), (flat**2).mean(axis=1)], axis=1)
        return np.concatenate([moments, theory.modes(phi)], axis=1)

    return Quantities(
        {
            "mean": "mean of x over its components",
            "second_moment": "mean of x^2 over its components",
            **{name: f"probability of the mode: {name.replace('_', ' ')}" for name in names},
            "log_z": LOG_Z,
        },
        TARGET_SYMBOLS,
        samples,
        lambda averages: averages,
    )
