"""Malformed input never ends in a traceback, hangs, loses a file or is taken for sound.

`pytest -m slow tests/test_fuzz.py` runs thousands of cases; the default lane runs a few of each
kind. All are made from fixed seeds.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import random
import re
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import jax
import pytest
from fuzzing import CODES, config_cases, flag_cases, material, netcdf_cases, run_case, run_cases

FAMILIES = {"flags": 800, "config": 500, "run": 300, "netcdf": 500}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return material(tmp_path_factory.mktemp("sound"))


def report(family: str, count: int, sound, scratch: Path, seed: int) -> None:
    rng = random.Random(zlib.crc32(family.encode()) + seed)
    cases = {
        "flags": lambda: flag_cases(rng),
        "config": lambda: config_cases(rng),
        "run": lambda: run_cases(rng, sound),
        "netcdf": lambda: netcdf_cases(rng, sound, scratch),
    }[family]()
    bad, codes = [], collections.Counter()
    directory = scratch / "work"
    directory.mkdir()
    with contextlib.chdir(scratch), jax.numpy_dtype_promotion("standard"):
        for case in itertools.islice(cases, count):
            directory.mkdir(exist_ok=True)
            with contextlib.chdir(directory), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trouble, code = run_case(case, sound, Path())
            codes[code] += 1
            if trouble is not None:
                shown = [a[:60] for a in case.args]
                text = None if case.config is None else case.config[:80]
                name = None if case.file is None else case.file[0]
                bad.append(f"{trouble[:300]}  <- {shown} {text!r} {name} {case.edits}")
    print(f"{family}: {count} cases, exit codes {dict(sorted(codes.items()))}, {len(bad)} bad")
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_malformed_inputs(family, sound, tmp_path):
    report(family, FAMILIES[family] // 14, sound, tmp_path, seed=0)


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_thousands_of_malformed_inputs(family, sound, tmp_path):
    report(family, FAMILIES[family], sound, tmp_path, seed=1)


ENVIRONMENTS = [
    ({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, {0}),
    ({"MPLBACKEND": "nonsense"}, {0}),
    ({"MPLCONFIGDIR": "/proc/none"}, {0}),
    ({"MATPLOTLIBRC": "/dev/null"}, {0}),
    ({"JAX_PLATFORMS": "nonsense"}, {1}),
    ({"JAX_ENABLE_X64": "maybe"}, {1}),
    ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {0}),
    ({"PYTHONIOENCODING": "ascii"}, {0}),
    ({"PYTHONIOENCODING": "latin-1"}, {0}),
    ({"SOURCE_DATE_EPOCH": "x"}, {1}),
]


def started(args: list[str], directory: Path, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lattice_flows.scripts.cli", *args]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, timeout=300)


def test_a_date_that_is_none_is_told_in_a_line(tmp_path):
    done = started(["exact", "phi4", "--sites", "4"], tmp_path, SOURCE_DATE_EPOCH="x")
    assert done.returncode == 1
    assert done.stderr == b"Error: SOURCE_DATE_EPOCH is not a date: unset it, or give seconds\n"


@pytest.mark.slow
@pytest.mark.parametrize(("variables", "codes"), ENVIRONMENTS, ids=str)
@pytest.mark.parametrize("command", ["plot", "sample"])
def test_what_is_inherited_does_not_matter(variables, codes, command, sound, tmp_path):
    for name, content in sound.files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "run").mkdir()
    for name, content in sound.run.items():
        (tmp_path / "run" / name).write_bytes(content)
    args = ["plot", "scan.nc", "-o", "out.png"]
    if command == "sample":
        args = ["sample", "run", "--m", "-1", "-n", "64", "-o", "out.nc"]
    done = started(args, tmp_path, **variables)
    said = done.stderr.decode(errors="replace")
    if command == "plot" and set(variables) & {"JAX_PLATFORMS", "SOURCE_DATE_EPOCH"}:
        codes = {0, 1}
    assert done.returncode in (codes | {3} if command == "sample" and 0 in codes else codes), said
    assert "Traceback" not in said and done.returncode in CODES
    if done.returncode == 1:
        assert len(re.findall(r"^Error: ", said, re.MULTILINE)) == 1
