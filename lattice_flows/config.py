"""What a training run is: one frozen record, validated once, stored as JSON in the run directory.

Every field is declared in one line with `_option`; validation, JSON and the flags of
`lattice-flows train` are driven by `dataclasses.fields`. Nothing heavy is imported with this
module: the command line reads it to print its help.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import theories
from lattice_flows.config_rules import (
    Coupling,
    automatic,
    boundary,
    checked_couplings,
    refuse,
    refuse_diffusion,
    refuse_idle,
    refuse_misfits,
    refuse_source,
    refuse_unknown,
    refuse_unsampled,
)
from lattice_flows.config_rules import flag as flag
from lattice_flows.config_rules import show as show
from lattice_flows.resources import refuse_sites
from theories import outside

if TYPE_CHECKING:
    from theories import Theory

FORMAT, FORMAT_VERSION = "config", 1
_DEEPEST = 16  # runs that go on from one another


def _option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    outside: bool = False,
) -> Any:
    """A field with a default, and what validation and `train --help` say about it.

    outside: a part of one's own fits, too: FILE.py:NAME, or in Python the object itself.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "low": low,
        "high": high,
        "above": above,
        "outside": outside,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run: theory, lattice, the couplings it is for, and how the flow is trained.

    `shape` may be left out for a theory that has one shape only. A field, base, path, objective or
    source of points of one's own is given as it is, and kept by where it is found.

    `couplings` holds a value or a range for each coupling of the theory; the missing ones are
    filled in with the theory's defaults. `source` is the record of the run that a transport between
    couplings, or TRADE, goes on from. `theory_from` says where the class of a theory that is not of
    this package is found. Raises LatticeFlowsError, one line, for the first mistake.
    """

    theory: str
    shape: tuple[int, ...] = ()
    couplings: Mapping[str, Coupling] = dataclasses.field(default_factory=dict)
    source: Mapping[str, Any] | None = None
    theory_from: str | None = None
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
        "Velocity field; hollow on lattices, mlp elsewhere, gradient for a gradient flow.",
        choices=(
            "auto",
            "hollow",
            "convolutional",
            "translation",
            "mlp",
            "gradient",
            "transport",
        ),
        outside=True,
    )
    base: str = _option(
        "auto",
        "Base density; mean-field on lattices (gaussian for a free field), normal elsewhere, "
        "tempered (normal, at the temperature of the target) where there is one.",
        choices=(
            "auto",
            "mean-field",
            "ultralocal",
            "gaussian",
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
        "Path of energies from base to target: linear (or the gradient flow's own), or another; "
        "diffusion for Gaussian mixtures alone.",
        choices=(
            "auto",
            "linear",
            "learned",
            "diffusion",
            "coupling",
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
        "both",
        "Where the residual is evaluated: persistent walkers, the flow's own trajectories, both, "
        "both and walkers with their mean stretched (for --objective trade to go on from), "
        "weighted and moved trajectories, a uniform box.",
        choices=("both", "wide", "own", "walkers", "transported", "box"),
        outside=True,
    )
    half_box: float = _option(10.0, "Half the side of --points box.", above=0)
    weighted: bool = _option(False, "Own trajectories count by their weights as draws of p_t.")
    constant: str = _option(
        "closed",
        "C_t: mean or median of the residual's other terms, or a network.",
        choices=("closed", "network"),
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

    def __post_init__(self) -> None:
        if not isinstance(self.theory, str):
            refuse(f"a theory is named by a word, not {self.theory!r}")
        if not isinstance(self.couplings, Mapping):
            refuse(f"couplings are values by name, not {self.couplings!r}")
        source, depth = self.source, 0
        while source is not None:
            if not isinstance(source, Mapping) or depth == _DEEPEST:
                refuse(f"the run to go on from is a record, {_DEEPEST} deep at most")
            source, depth = source.get("source"), depth + 1
        for f in dataclasses.fields(self):
            if f.metadata:
                object.__setattr__(self, f.name, _checked(f, getattr(self, f.name)))
        theory = self.make_theory()
        object.__setattr__(self, "theory_from", theories.origin(type(theory)))
        refuse_sites(theory.shape)
        chosen = boundary(theory, self.objective, self.boundary)
        object.__setattr__(self, "boundary", chosen)
        for name, choice in automatic(theory, self).items():
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, choice)
        refuse_misfits(theory, self)
        object.__setattr__(self, "shape", theory.shape)
        object.__setattr__(self, "couplings", checked_couplings(theory, self.couplings))
        if self.interpolation == "diffusion":
            refuse_diffusion(theory, self.couplings)
        if self.source is not None:
            object.__setattr__(self, "source", json.loads(json.dumps(self.source)))
            refuse_source(theory, self)
        refuse_unsampled(theory, self)
        refuse_idle(self)

    def make_theory(self) -> "Theory":
        """The theory on its lattice."""
        return theories.make(self.theory, self.shape or None, self.theory_from)

    @property
    def continues(self) -> bool:
        """Whether the flow of `source` stays as it is, and the flow of this run goes on from it."""
        return self.source is not None and self.boundary in ("auto", "frozen")

    @property
    def source_config(self) -> "Config":
        """The configuration of the run that this one goes on from."""
        assert self.source is not None
        return Config._of(self.source, "the record of the run that this one goes on from")

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The couplings the flow is conditioned on, with their (low, high)."""
        return {k: v for k, v in self.couplings.items() if isinstance(v, tuple)}

    def trained_on(self) -> str:
        """The couplings of the run in words, e.g. 'm 0.25:1, lam 0.0625, alpha 0.01'."""
        return ", ".join(f"{k} {show(v)}" for k, v in self.couplings.items())

    def check_couplings(
        self, values: Mapping[str, float], extrapolate: bool = False
    ) -> dict[str, float]:
        """One complete coupling point: `values`, and the trained value of each coupling left out.

        Raises LatticeFlowsError for a coupling the theory does not have, for a range without a
        value, and, unless `extrapolate`, for a value the run was not trained on.
        """
        theory = self.make_theory()
        refuse_unknown(theory, values)
        point = {}
        for name, trained in self.couplings.items():
            if name in values:
                value = float(values[name])
            elif isinstance(trained, tuple):
                refuse(
                    f"{name} was trained on {show(trained)}: say which value, "
                    f"e.g. {flag(name)} {show(trained[0])}"
                )
            else:
                value = trained
            low, high = trained if isinstance(trained, tuple) else (trained, trained)
            slack = 1e-9 * max(abs(low), abs(high))  # ends of a range survive decimal rounding
            if not (extrapolate or low - slack <= value <= high + slack):
                refuse(
                    f"{name} = {show(value)} is outside what the run was trained on "
                    f"({self.trained_on()}); insist with --extrapolate"
                )
            point[name] = value
        theory.validate(theory.from_values(**point))
        return point

    def to_json(self) -> str:
        """The record as JSON text, with its format version."""
        header = {"lf_format": FORMAT, "lf_format_version": FORMAT_VERSION}
        record = dataclasses.asdict(self)
        if self.theory_from is None:  # of this package
            del record["theory_from"]
        return json.dumps(header | record, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str | os.PathLike[str] = "config.json") -> "Config":
        """The record that `to_json` wrote; `where` names the file in errors.

        Raises LatticeFlowsError for damaged text, another format, a newer version, unknown keys.
        """
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            refuse(f"{where} is damaged ({error}): restore it, or train a new run")
        if not isinstance(record, dict) or record.pop("lf_format", None) != FORMAT:
            refuse(f"{where} is not a lattice-flows configuration")
        version = record.pop("lf_format_version", None)
        if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
            refuse(
                f"{where} has format version {version}, this program reads up to {FORMAT_VERSION}: "
                "upgrade lattice-flows"
            )
        return cls._of(record, where)

    @classmethod
    def _of(cls, record: Mapping[str, Any], where: str | os.PathLike[str]) -> "Config":
        """The configuration with these fields, all those that nothing may stand in for there."""
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(record.keys() - known):
            refuse(f"{where} has unknown keys ({', '.join(unknown)}): written by another version?")
        if missing := [n for n in ("theory", "shape", "couplings") if n not in record]:
            refuse(f"{where} lacks {', '.join(missing)}: restore it, or train a new run")
        config = cls(**record)
        if lost := sorted(config.couplings.keys() - record["couplings"].keys()):
            refuse(f"{where} lacks the coupling {lost[0]}: restore it, or train a new run")
        return config

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Config":
        """The configuration in the file `path`."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            refuse(f"{path} is damaged ({error}): restore it, or train a new run")
        return cls.from_json(text, where=path)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A configuration without its seed, under which what is built of it can be kept.

    Two are equal where they mean the same: the same text, and the same classes and functions behind
    the names in it, for one of your own may be defined anew.
    """

    meaning: tuple[Any, ...]
    config: Config = dataclasses.field(compare=False)

    @classmethod
    def of(cls, config: Config) -> "Recipe":
        config = dataclasses.replace(config, seed=0)
        named = (getattr(config, f.name) for f in dataclasses.fields(config) if f.metadata)
        parts = [outside.imported(x) for x in named if isinstance(x, str) and ":" in x]
        return cls((config.to_json(), theories.find(config.theory), *parts), config)


def _checked(field: dataclasses.Field, value: Any) -> Any:
    """`value` in the field's own type, or a refusal that names its flag."""
    kind, rule, name = type(field.default), field.metadata, flag(field.name)
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
    if kind is float and not math.isfinite(value):
        refuse(f"{name} must be finite, not {value}")
    if rule["low"] is not None and value < rule["low"]:
        refuse(f"{name} must be at least {rule['low']}, not {value}")
    if rule["high"] is not None and value > rule["high"]:
        refuse(f"{name} must be at most {rule['high']}, not {value}")
    if rule["above"] is not None and value <= rule["above"]:
        refuse(f"{name} must be above {rule['above']}, not {value}")
    return value


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
