"""The contract of an experiment: what it is called, which settings it has, how it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lattice_flows.files import Dataset, Variable
from lattice_flows.reproduce.record import Record, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Report = Callable[[int, Mapping[str, float]], None]
"""Called with the number of steps done and the metrics to show."""


def _silent(label: str, total: int) -> AbstractContextManager[Report]:
    return nullcontext(lambda done, metrics: None)


@dataclass(frozen=True)
class Settings:
    """How the experiments that train are run; an experiment looks at those it declares.

    `preset` is "quick" (minutes on two cores) or "paper" (as long as the paper's own), `seeds` the
    number of trainings whose scatter is the error, the first with `seed`. `progress` opens a
    report, given a label and a number of steps.
    """

    preset: str = "quick"
    seeds: int = 1
    seed: int = 0
    progress: Callable[[str, int], AbstractContextManager[Report]] = _silent


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper that we compute, too.

    `run` returns the rows of the table and the netCDF variables; `draw` makes the figure from
    those variables alone, fresh or read from a file. `options` are the settings that it uses, of
    "preset" and "seeds". jax must be in double precision (`jax_enable_x64`).
    """

    name: str
    title: str
    references: str
    run: Callable[[Settings], tuple[Sequence[Row], Mapping[str, Variable]]]
    draw: Callable[[Dataset], Figure]
    options: tuple[str, ...] = ()

    def reproduce(self, settings: Settings | None = None) -> Record:
        """Run it, with the default settings if none are given."""
        settings = settings or Settings()
        rows, variables = self.run(settings)
        used = {name: getattr(settings, name) for name in self.options}
        if "seeds" in self.options:
            used["seed"] = settings.seed
        return Record(self, used, rows, variables)
