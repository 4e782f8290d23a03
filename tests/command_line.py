"""The command line, called within the process of a test."""

from __future__ import annotations

import re

from click.testing import CliRunner, Result

from lattice_flows.scripts.cli import main


def call(*args: object) -> Result:
    """What `lattice-flows ARGS…` does."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def refused(*args: object, code: int = 1) -> str:
    """The one line that a refused command leaves on stderr."""
    result = call(*args)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr), result.stderr
    return result.stderr
