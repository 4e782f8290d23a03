"""Errors speak as their reader does: Python to a program, flags on the command line."""

from __future__ import annotations

import ast
import dataclasses
import keyword
import re
import shlex
from pathlib import Path

import jax
import pytest
from command_line import refused
from hypothesis import given
from hypothesis import strategies as st
from test_architecture import modules

import theories
from lattice_flows import Config, Run, Sampler, hmc
from lattice_flows.io.netcdf import refuse_existing
from lattice_flows.runs.options import setting
from lattice_flows.runs.resources import refuse_training
from lattice_flows.scripts._values import ValuesType
from lattice_flows.scripts._words import as_typed
from theories import LatticeFlowsError, Phi4

NAMES = st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name) and name not in ("shape", "jax_enable_x64")
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
COMMANDS = "exact|train|transfer|evaluate|sample|hmc|measure|correlator|scan|plot|info|reproduce"
TYPED = re.compile(rf"(^|[^\w-])--[a-z]|lattice-flows ({COMMANDS})\b")


def texts(tree):
    """The strings of a program, but for docstrings and the help of flags."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_option":
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node
        yield from texts(node)


def test_the_library_speaks_of_no_flag():
    others = {"lattice_flows.io.provenance", "lattice_flows.papers.coverage"}  # git; a table's row
    found = [
        f"{file}:{node.lineno} {node.value}"
        for name, file in modules()
        if not name.startswith("scripts") and name not in others
        for node in texts(ast.parse(file.read_text()))
        if TYPED.search(str(node.value))
    ]
    assert not found


@pytest.mark.parametrize(
    ("told", "typed"),
    [
        ("give `base_curvature`, or leave it out", "give --base-curvature, or leave it out"),
        ('use `objective="trade"` (`m=0.25`)', "use --objective trade (--m 0.25)"),
        ("`m=(0.25, 1)`", "--m 0.25:1"),
        ("`mass_squared=(low, high)`", "--mass-squared LOW:HIGH"),
        ("insist with `extrapolate=True`", "insist with --extrapolate"),
        ("`shape=(16,)`", "--sites 16"),
        ("`shape=(8, 8)`", "--shape 8x8"),
        ("`jax_enable_x64=True`", "--x64"),
        ("`batch=1000000`", "--batch 1000000"),
        (
            "`train(theory, path='a run')`",
            "lattice-flows train 'a run' --theory … --sites …",
        ),
        ("`train(..., path='r', resume=True)`", "lattice-flows train r --resume"),
    ],
)
def test_settings_become_flags(told, typed):
    assert as_typed(told) == typed


@given(name=NAMES, numbers=st.lists(NUMBERS, min_size=1, max_size=2, unique=True).map(sorted))
def test_numbers_are_typed_so_that_they_are_read_as_they_were(name, numbers):
    value = numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])
    flag, text = as_typed(f"give {setting(name, value)}.").removesuffix(".").split(" ")[1:]
    assert flag == "--" + name.replace("_", "-")
    assert list(ValuesType().convert(text, None, None).values) == numbers


@given(name=NAMES, word=st.text(st.characters(exclude_characters='`"\\', codec="ascii")))
def test_words_are_typed_so_that_a_shell_reads_them(name, word):
    if word.isprintable():
        assert shlex.split(as_typed(setting(name, word))) == [f"--{name.replace('_', '-')}", word]


@given(name=NAMES)
def test_names_are_typed(name):
    flag = "--" + name.replace("_", "-")
    assert as_typed(f"`{name}`: `{name}=True`") == f"{flag}: {flag}"


@given(st.text())
def test_text_without_backticks_stays(text):
    plain = text.replace("`", "")
    assert as_typed(plain) == plain


@pytest.mark.parametrize(
    "code",
    [
        *("Run", "Run.open", "train()", "train(3)", "hmc(1)", "a b", "9", "a) + (b", "**x"),
        *("m=", "m=None", "m=()", "m=[1]", "m={[]}", "m='\\d' 3", "x=False", "m=1, n=2"),
        *("m\0", "(" * 500),
    ],
)
def test_other_things_in_backticks_stay(code):
    assert as_typed(f"the `{code}` here") == f"the `{code}` here"


@pytest.mark.parametrize("text", ["'`m`'", "a/`m`.nc", "`m`s", "no end: `m"])
def test_names_with_backticks_of_their_own_stay(text):
    assert as_typed(text) == text


POINT = Config("phi4", (4,), {"m": -1.0})
TRANSPORT = {"objective": "transport", "source": dataclasses.asdict(POINT)}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs of which nothing is trained: `point`, and `ranged` in m."""
    monkeypatch.chdir(tmp_path)
    Run.create("point", POINT)
    Run.create("ranged", Config("phi4", (4,), {"m": (-1.2, -0.8)})).finish()
    Path("there.nc").touch()


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("program", "told", "command", "typed"),
    [
        (
            lambda: Config("phi4", (4,), base_curvature=1.0),
            '`base_curvature` acts with `base="ultralocal"` alone: leave it out',
            "train r --theory phi4 --sites 4 --base-curvature 1",
            "--base-curvature acts with --base ultralocal alone: leave it out",
        ),
        (
            lambda: Config("gmm-4", field="hollow"),
            'gmm-4 is not on a lattice: `field="hollow"` does not fit, use mlp',
            "train r --theory gmm-4 --field hollow",
            "gmm-4 is not on a lattice: --field hollow does not fit, use mlp",
        ),
        (
            lambda: Config("phi4", (4,), steps=0),
            "`steps` must be at least 1, not 0",
            "train r --theory phi4 --sites 4 --steps 0",
            "--steps must be at least 1, not 0",
        ),
        (
            lambda: refuse_training(Config("phi4", (10**4,), batch=10**8, width=10**6)),
            "`batch=100000000` of 10000 sites with `width=1000000` would take ",
            "train r --theory phi4 --sites 10000 --batch 100000000 --width 1000000",
            "--batch 100000000 of 10000 sites with --width 1000000 would take ",
        ),
        (
            lambda: Run.open("ranged").config.check_couplings({}),
            "m was trained on -1.2:-0.8: say which value, e.g. `m=-1.2`",
            "evaluate ranged",
            "m was trained on -1.2:-0.8: say which value, e.g. --m -1.2",
        ),
        (
            lambda: Run.open("point").config.check_couplings({"m": 0.5}),
            "(m -1, lam 0.0625, alpha 0.01); insist with `extrapolate=True`",
            "sample point --m 0.5 -o e.nc",
            "(m -1, lam 0.0625, alpha 0.01); insist with --extrapolate",
        ),
        (
            lambda: Run.open("r"),
            "r does not exist: make it with `train(theory, path='r')`",
            "scan r",
            "r does not exist: make it with lattice-flows train r --theory … --sites …",
        ),
        (
            lambda: Sampler.load(Run.open("point")),
            "point has no checkpoint yet: `train(..., path='point', resume=True)`",
            "evaluate point",
            "point has no checkpoint yet: lattice-flows train point --resume",
        ),
        (
            lambda: Run.create("point", POINT),
            "carry it on with `resume=True`, or replace it with `overwrite=True`",
            "train point --theory phi4 --sites 4",
            "carry it on with --resume, or replace it with --overwrite",
        ),
        (
            lambda: refuse_existing("there.nc"),
            "there.nc exists: give `overwrite=True` to replace it, or another name",
            "hmc phi4 --sites 4 -o there.nc",
            "there.nc exists: give --overwrite to replace it, or another name",
        ),
        (
            lambda: Config("phi4", (4,), {"m": -1.0}, **TRANSPORT),
            '`objective="transport"` goes to a range of couplings: give one, `m=(low, high)`',
            "transfer trained new",
            "--objective transport goes to a range of couplings: give one, --m LOW:HIGH",
        ),
        (
            lambda: Config("phi4", (4,), objective="trade"),
            "give the `source` that it goes on from, or leave it out",
            "train r --theory phi4 --sites 4 --objective trade",
            "no other does: lattice-flows transfer RUN NEW_RUN",
        ),
        (
            lambda: theories.make("gmm-6", (3,)),
            "gmm-6 has 2 components, not `shape=(3,)`: leave it out",
            "exact gmm-6 --sites 3",
            "gmm-6 has 2 components, not --sites 3: leave it out",
        ),
        (
            lambda: theories.make("gmm-6", (2, 2)),
            "gmm-6 has 2 components, not `shape=(2, 2)`: leave it out",
            "exact gmm-6 --shape 2x2",
            "gmm-6 has 2 components, not --shape 2x2: leave it out",
        ),
        (
            lambda: _far_in_single_precision(),
            "couplings beyond the range of float32: enable float64 (`jax_enable_x64=True`)",
            "hmc phi4 --sites 4 --m 1e39 -o e.nc",
            "couplings beyond the range of float32: enable float64 (--x64)",
        ),
    ],
)
def test_the_same_mistake_in_python_and_on_the_command_line(program, told, command, typed):
    if "trained" in command:
        Run.create("trained", POINT).finish()
    with jax.enable_x64(False):
        with pytest.raises(LatticeFlowsError) as caught:
            program()
        assert told in str(caught.value)
        assert typed in refused(*command.split())


def _far_in_single_precision():
    theory = Phi4((4,))
    return hmc(theory, theory.from_values(m=1e39), jax.random.key(0))
