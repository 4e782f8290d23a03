"""The contract of an experiment: what it is called, which settings it has, how it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lattice_flows.io.netcdf import Dataset, Variable
from observables import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Report = Callable[[int, Mapping[str, float]], None]
"""Called with the number of steps done and the metrics to show."""


def _silent(label: str, total: int) -> AbstractContextManager[Report]:
    return nullcontext(lambda done, metrics: None)


@dataclass(frozen=True)
class Settings:
    """How the experiments that train are run.

    `preset` is "quick" (minutes on two cores) or "paper" (as long as the paper's own), `seeds` the
    number of trainings whose scatter is the error, the first with `seed`. `progress` opens a
    report, given a label and a number of steps. The trainings are kept as runs in the directory
    `runs`; `interrupted` says that they are to be saved and left, with Interrupted.
    """

    preset: str = "quick"
    seeds: int = 1
    seed: int = 0
    runs: Path = Path("runs")
    interrupted: Callable[[], bool] = lambda: False
    progress: Callable[[str, int], AbstractContextManager[Report]] = _silent


class Row(NamedTuple):
    """One number of the table.

    `paper` is None where the paper prints no number, `exact` where no exact answer is known. An
    error of 0 says that there is none: nothing random in ours, or none stated by the paper.
    """

    quantity: str
    ours: Estimate
    paper: Estimate | None = None
    exact: float | None = None


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper that we compute, too.

    `run` returns the rows of the table and the netCDF variables; `draw` makes the figure from
    those variables alone, fresh or read from a file. One that `trains` nothing has no use for
    settings. jax must be in double precision (`jax_enable_x64`).
    """

    name: str
    title: str
    references: str
    run: Callable[[Settings], tuple[Sequence[Row], Mapping[str, Variable]]]
    draw: Callable[[Dataset], Figure]
    trains: bool = False
