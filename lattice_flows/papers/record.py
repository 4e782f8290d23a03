"""An experiment done: a table of numbers, ours beside the paper's, and the data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lattice_flows.io.netcdf import Dataset, Variable, estimate_variables, write_dataset
from lattice_flows.io.provenance import origin
from lattice_flows.papers import find
from lattice_flows.papers.experiment import Experiment, Row, Settings
from observables import Estimate
from theories.errors import LatticeFlowsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "reproduction"
"""`lf_format` of the files."""


@dataclass(frozen=True)
class Record:
    """An experiment done: the settings that it used, rows of the table, netCDF variables."""

    experiment: Experiment
    settings: Mapping[str, Any]
    rows: Sequence[Row]
    variables: Mapping[str, Variable]

    def as_json(self) -> dict[str, Any]:
        """The table as one JSON object."""
        return {
            "experiment": self.experiment.name,
            "title": self.experiment.title,
            "references": self.experiment.references,
            "settings": dict(self.settings),
            "rows": [
                {
                    "quantity": row.quantity,
                    "paper": None if row.paper is None else row.paper._asdict(),
                    "ours": row.ours._asdict(),
                    "exact": row.exact,
                }
                for row in self.rows
            ],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a netCDF file of the variables and, along dimension `row`, the table.

        Raises LatticeFlowsError where the file can't be written.
        """
        write_dataset(
            path,
            FORMAT,
            {**self._table(), **self.variables},
            title=self.experiment.title,
            config={"experiment": self.experiment.name, **self.settings},
            references=self.experiment.references,
            attributes={"lf_provenance": origin()},
        )

    def figure(self) -> Figure:
        """The figure of the data."""
        name = self.experiment.name
        return self.experiment.draw(Dataset(Path(name), dict(self.variables), {}))

    def _table(self) -> dict[str, Variable]:
        """The rows as variables, NaN for what is not known."""
        unknown = Estimate(np.nan, np.nan)
        names = np.array([row.quantity for row in self.rows])
        paper = _columns([row.paper or unknown for row in self.rows])
        ours = _columns([row.ours for row in self.rows])
        exact = np.array([row.exact for row in self.rows], dtype=float)
        axis = ("row",)
        return {
            "quantity": Variable(axis, names, "what the row is of"),
            **estimate_variables("paper", *paper, "value that the paper prints", axis),
            **estimate_variables("ours", *ours, "value computed here", axis, exact),
        }


def reproduce(experiment: Experiment, settings: Settings | None = None) -> Record:
    """Run an experiment, with the default settings if none are given."""
    settings = settings or Settings()
    rows, variables = experiment.run(settings)
    names = ("preset", "seeds", "seed") if experiment.trains else ()
    return Record(experiment, {name: getattr(settings, name) for name in names}, rows, variables)


def plot(dataset: Dataset) -> Figure:
    """The figure of a record that was saved.

    Raises LatticeFlowsError where it does not hold what the figure shows.
    """
    config = dataset.json("lf_config")
    experiment = find(str(config.get("experiment") if isinstance(config, dict) else config))
    try:
        figure = experiment.draw(dataset)
        figure.draw_without_rendering()  # mathematical type is read there
    except (IndexError, KeyError, TypeError, ValueError) as error:  # of what was read
        raise LatticeFlowsError(
            f"{dataset.path} does not hold what the figure of {experiment.name} shows: "
            "reproduce it again"
        ) from error
    return figure


def _columns(estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray]:
    """The values and the errors."""
    return np.array([e.value for e in estimates]), np.array([e.stderr for e in estimates])
