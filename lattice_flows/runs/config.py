"""What a training run is: a frozen record, validated once, kept as JSON in the run directory."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import theories
from lattice_flows.runs.options import Options, checked, refuse, setting, show
from lattice_flows.runs.resources import refuse_sites
from lattice_flows.runs.rules import (
    STAGES,
    automatic,
    boundary,
    checked_couplings,
    method,
    refuse_diffusion,
    refuse_idle,
    refuse_misfits,
    refuse_source,
    refuse_unknown,
    refuse_unsampled,
)
from theories import Theory, outside

FORMAT, FORMAT_VERSION = "config", 1
_DEEPEST = 16  # runs that go on from one another


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """A training run: theory, lattice, the couplings it is for, and how the flow is trained.

    `shape` may be left out for a theory that has one shape only. A field, base, path, objective or
    source of points of one's own is given as it is, and kept by where it is found.

    `couplings` holds a value or a range for each coupling of the theory; the missing ones are
    filled in with the theory's defaults. `source` is the record of the run that a transport between
    couplings, or TRADE, goes on from. `theory_from` says where the class of a theory that is not of
    this package is found. Raises LatticeFlowsError, one line, for the first mistake.
    """

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
                object.__setattr__(self, f.name, checked(f, getattr(self, f.name)))
        theory = self.make_theory()
        object.__setattr__(self, "theory_from", theories.origin(type(theory)))
        refuse_sites(theory.shape)
        chosen = boundary(theory, self.objective, self.boundary)
        object.__setattr__(self, "boundary", chosen)
        object.__setattr__(self, "method", method(theory, self)[0])
        for name, choice in automatic(theory, self).items():
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, choice)
        refuse_misfits(theory, self)
        if self.method == "least-squares":
            object.__setattr__(self, "steps", STAGES)
        object.__setattr__(self, "shape", theory.shape)
        object.__setattr__(self, "couplings", checked_couplings(theory, self.couplings))
        if self.interpolation == "diffusion":
            refuse_diffusion(theory, self.couplings)
        if self.source is not None:
            object.__setattr__(self, "source", json.loads(json.dumps(self.source)))
            refuse_source(theory, self, self.source_config)
        refuse_unsampled(theory, self, self if self.source is None else self.source_config)
        refuse_idle(self)

    def make_theory(self) -> Theory:
        """The theory on its lattice."""
        return theories.make(self.theory, self.shape or None, self.theory_from)

    @property
    def source_config(self) -> "Config":
        """The configuration of the run that this one goes on from."""
        assert self.source is not None
        return Config._of(self.source, "the record of the run that this one goes on from")

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
                    f"e.g. {setting(name, trained[0])}"
                )
            else:
                value = trained
            low, high = trained if isinstance(trained, tuple) else (trained, trained)
            slack = 1e-9 * max(abs(low), abs(high))  # ends of a range survive decimal rounding
            if not (extrapolate or low - slack <= value <= high + slack):
                refuse(
                    f"{name} = {show(value)} is outside what the run was trained on "
                    f"({self.trained_on()}); insist with `extrapolate=True`"
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
        config = cls(**_with_method(record))
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


def _with_method(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the method, which older ones do not name, as there was no other."""
    whole = {"method": "optimise", **record}
    if isinstance(whole.get("source"), Mapping):
        whole["source"] = _with_method(whole["source"])
    return whole


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
