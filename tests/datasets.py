"""A small dataset to write, and how a refusal looks, for the tests of files."""

import numpy as np
import pytest

from lattice_flows.io.netcdf import (
    Variable,
    estimate_variables,
    write_dataset,
)
from theories.errors import LatticeFlowsError


def refused(message):
    """A LatticeFlowsError of one line that contains `message`."""
    return pytest.raises(LatticeFlowsError, match=rf"^[^\n]*{message}[^\n]*$")


def put(text):
    return lambda path: path.write_text(text)


def variables(n=5):
    point = ("coupling_point",)
    return {
        "m": Variable(point, np.linspace(0.25, 1, n), "coupling m"),
        "reliable": Variable(point, np.arange(n) % 2 == 0, "error bars can be believed"),
        "count": Variable((), np.int32(7), "draws", "1", {"comment": "φ⁴"}),
        **estimate_variables("phi2", np.arange(n), np.ones(n), "mean of phi^2", point, np.zeros(n)),
    }


def write(path, **changes):
    arguments = {"title": "a scan of φ⁴", "config": {"theory": "phi4", "shape": [16]}} | changes
    write_dataset(path, "scan", variables(), **arguments)
