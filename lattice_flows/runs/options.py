"""What a training run may be told: every setting with its default, its bounds and its help.

Each is declared in one line with `_option`; validation, JSON and the flags of `lattice-flows train`
are driven by `dataclasses.fields`. Nothing heavy is imported with this module: the command line
reads it to print its help.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from theories import outside
from theories.errors import LatticeFlowsError

Coupling = float | tuple[float, float]
"""A fixed value, or the continuous range (low, high) that a flow is conditioned on."""


def refuse(message: str) -> NoReturn:
    """Raise LatticeFlowsError."""
    raise LatticeFlowsError(message)


def show(value: Coupling) -> str:
    """A coupling as it is written on the command line: 0.5 or 0.25:1."""
    return ":".join(f"{x:g}" if float(f"{x:g}") == x else repr(x) for x in ends(value))


def flag(name: str) -> str:
    """The command-line flag of a field."""
    return "--" + name.replace("_", "-")


def setting(name: str, value: Coupling | str) -> str:
    """A setting as messages have it: in backticks, as Python spells it."""
    if isinstance(value, str):
        return f'`{name}="{value}"`'
    numbers = ", ".join(map(show, ends(value)))
    return f"`{name}=({numbers})`" if isinstance(value, tuple) else f"`{name}={numbers}`"


def ends(value: Coupling) -> tuple[float, ...]:
    """The value of a coupling that is fixed, or the ends of its range."""
    return value if isinstance(value, tuple) else (value,)


def _option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    outside: bool = False,
    formerly: Mapping[str, str] | None = None,
) -> Any:
    """A field with a default, and what validation and `train --help` say about it.

    outside: a part of one's own fits, too: FILE.py:NAME, or in Python the object itself.
    formerly: choices by their names in older runs, and the names they have now; taken, not shown.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "low": low,
        "high": high,
        "above": above,
        "outside": outside,
        "formerly": formerly or {},
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Options:
    """The settings of a run, as they were given."""

    theory: str
    shape: tuple[int, ...] = ()
    couplings: Mapping[str, Coupling] = dataclasses.field(default_factory=dict)
    source: Mapping[str, Any] | None = None
    theory_from: str | None = None
    method: str = _option(
        "auto",
        "How the flow is found: by an optimiser, or by linear least squares, in one solve. Least "
        "squares on lattices of two and more dimensions from 100 sites on, at single couplings, "
        "unless a setting of optimisers is given; else an optimiser.",
        choices=("auto", "optimise", "least-squares"),
    )
    objective: str = _option(
        "deformation",
        "Training objective.",
        choices=(
            "deformation",
            "reverse-kl",
            "path-gradient",
            "likelihood",
            "gradient-flow",
            "transport",
            "trade",
        ),
        outside=True,
    )
    boundary: str = _option(
        "auto",
        "What holds --objective trade where RUN was trained: the flow of RUN itself, frozen (on "
        "lattices), or a loss of the new flow there, maximum likelihood of samples (elsewhere), "
        "reverse KL or deformation.",
        choices=("auto", "frozen", "samples", "reverse-kl", "deformation"),
    )
    field: str = _option(
        "auto",
        "Velocity field; hollow on lattices (linear by least squares), mlp elsewhere, gradient for "
        "a gradient flow.",
        choices=(
            "auto",
            "hollow",
            "convolutional",
            "translation",
            "linear",
            "mlp",
            "gradient",
            "transport",
        ),
        outside=True,
    )
    base: str = _option(
        "auto",
        "Base density; mean-field on lattices (gaussian for a free field, massive by least "
        "squares), normal elsewhere, tempered (normal, at the temperature of the target) where "
        "there is one.",
        choices=(
            "auto",
            "mean-field",
            "ultralocal",
            "gaussian",
            "massive",
            "normal",
            "tempered",
            "flow",
        ),
        outside=True,
    )
    base_curvature: float = _option(0.0, "c of the ultralocal base, in units of √λ.")
    base_width: float = _option(
        1.0, "Standard deviation of the normal base, or of the tempered one at beta 1.", above=0
    )
    interpolation: str = _option(
        "auto",
        "Path of energies from base to target: linear (massive by least squares), or another; "
        "diffusion for Gaussian mixtures alone.",
        choices=(
            "auto",
            "linear",
            "learned",
            "diffusion",
            "coupling",
            "massive",
            "constant-wells",
            "gradient",
            "line",
        ),
        outside=True,
    )
    steps: int = _option(2000, "Training steps.", low=1, high=10**9)
    batch: int = _option(1024, "Configurations a step.", low=32, high=10**8)
    learning_rate: float = _option(3e-3, "Adam's initial learning rate.", above=0)
    curriculum: float = _option(
        0.0, "Fraction of the steps over which ranges open up; 0 is off.", low=0, high=1
    )
    points: str = _option(
        "mixed",
        "Where the residual is evaluated: persistent walkers, the flow's own trajectories, a mix "
        "of both, a mix with walkers whose mean is stretched (for --objective trade to go on "
        "from), particles (trajectories that are weighted, moved and resampled), a uniform box.",
        choices=("mixed", "stretched", "trajectories", "walkers", "particles", "box"),
        formerly={
            "both": "mixed",
            "wide": "stretched",
            "own": "trajectories",
            "transported": "particles",
        },
        outside=True,
    )
    half_box: float = _option(10.0, "Half the side of --points box.", above=0)
    weighted: bool = _option(False, "Own trajectories count by their weights as draws of p_t.")
    constant: str = _option(
        "estimated",
        "C_t: estimated, as mean or median of the residual's other terms, or a network.",
        choices=("estimated", "network"),
        formerly={"closed": "estimated"},
    )
    penalty: str = _option(
        "squared",
        "L of the deformation residual: E^2, |E|, |E| + E^2, log(1 + |E|) or √(1 + E^2) - 1.",
        choices=("squared", "absolute", "sum", "logarithmic", "huber"),
    )
    width: int = _option(32, "Width of the field's network.", low=1, high=10**6)
    ode_steps: int = _option(16, "Fixed solver steps from base to target.", low=1, high=10**5)
    seed: int = _option(0, "Seed of every random number.", low=0, high=2**32 - 1)
    x64: bool = _option(False, "Train in double precision.")

    @property
    def continues(self) -> bool:
        """Whether the flow of `source` stays as it is, and the flow of this run goes on from it."""
        return self.source is not None and self.boundary in ("auto", "frozen")

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The couplings the flow is conditioned on, with their (low, high)."""
        return {k: v for k, v in self.couplings.items() if isinstance(v, tuple)}

    def trained_on(self) -> str:
        """The couplings of the run in words, e.g. 'm 0.25:1, lam 0.0625, alpha 0.01'."""
        return ", ".join(f"{k} {show(v)}" for k, v in self.couplings.items())


def checked(field: dataclasses.Field, value: Any) -> Any:
    """`value` in the field's own type, or a refusal that names the field."""
    kind, rule, name = type(field.default), field.metadata, f"`{field.name}`"
    if isinstance(value, str):
        value = rule["formerly"].get(value, value)
    if rule["outside"] and callable(value):
        value = outside.home(value)
    if rule["outside"] and isinstance(value, str) and outside.is_outside(value):
        outside.imported(value)  # or a refusal
        return value
    if kind is float and type(value) is int and abs(value) < 1e300:
        value = float(value)
    if type(value) is not kind:
        refuse(f"{name} must be {_KINDS[kind]}, not {value!r}")
    if rule["choices"] and value not in rule["choices"]:
        refuse(f"unknown {field.name} {value!r}: {name} is one of {', '.join(rule['choices'])}")
    if isinstance(value, float) and not math.isfinite(value):
        refuse(f"{name} must be finite, not {value}")
    if rule["low"] is not None and value < rule["low"]:
        refuse(f"{name} must be at least {rule['low']}, not {value}")
    if rule["high"] is not None and value > rule["high"]:
        refuse(f"{name} must be at most {rule['high']}, not {value}")
    if rule["above"] is not None and value <= rule["above"]:
        refuse(f"{name} must be above {rule['above']}, not {value}")
    return value


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
