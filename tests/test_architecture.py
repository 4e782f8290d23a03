"""The rooms of docs/architecture.md: imports point down, from a room to those on floors below."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from lattice_flows.flows.fields import FIELDS
from lattice_flows.flows.paths import PATHS
from lattice_flows.runs.options import Options
from lattice_flows.training.objectives import OBJECTIVES
from lattice_flows.training.points import SOURCES

ROOT = Path(__file__).parent.parent
TABLE = (ROOT / "docs" / "architecture.md").read_text()
FLOORS = {room: int(floor) for floor, room in re.findall(r"^\| (\d+) \| `(\S+)` \|", TABLE, re.M)}
# the package itself, which hands out public names, and a configuration's way to its theory
PUBLIC = {"lattice_flows"}


def modules():
    """Every module by name: those of the commands are lattice_flows.scripts where they run."""
    for top in ("theories", "observables", "lattice_flows", "scripts"):
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if parts[:2] != ("lattice_flows", "scripts"):  # a link to the same files
                yield ".".join(parts).removesuffix(".__init__"), file


def imports(name, file):
    """The modules that a file imports, anywhere in it."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
            module = ".".join(filter(None, (start if node.level else "", node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(name):
    """The room that a module is in, None for what is not of this project."""
    name = name.replace("lattice_flows.scripts", "scripts")
    found = [r for r in FLOORS if name == r or name.startswith(f"{r}.")]
    assert found or not name.startswith("lattice_flows.") or name.count(".") == 1, name
    return found[0] if found else None


def test_every_module_is_in_a_room():
    homeless = {name for name, _ in modules() if room(name) is None}
    assert homeless == PUBLIC
    assert {room(name) for name, _ in modules()} - {None} == set(FLOORS)


def test_imports_point_down():
    up = [
        f"{name} imports {other}"
        for name, file in modules()
        for other in imports(name, file)
        if name not in PUBLIC and room(other) not in (None, room(name))
        if FLOORS[room(other)] >= FLOORS[room(name)]
    ]
    assert not up


def test_no_module_of_a_room_needs_itself():
    """No circles of files, type hints included."""
    files = dict(modules())
    needs = {
        name: {other if other in files else other.rpartition(".")[0] for other in imports(name, f)}
        & files.keys() - {name}
        for name, f in files.items()
        if f.name != "__init__.py"  # which gather what is in a folder
    }
    while leaves := [name for name, others in needs.items() if not others & needs.keys()]:
        for name in leaves:
            del needs[name]
    assert not needs


@pytest.mark.parametrize(
    ("option", "table", "own"),
    [
        ("field", FIELDS, {"auto", "gradient", "transport"}),
        ("interpolation", PATHS, {"auto", "gradient", "line"}),
        ("objective", OBJECTIVES, set()),
        ("points", SOURCES, set()),
    ],
)
def test_the_choices_of_the_command_line_are_what_can_be_built(option, table, own):
    """Help must not wait for jax, so the names are told where nothing heavy is loaded."""
    (field,) = (f for f in dataclasses.fields(Options) if f.name == option)
    assert set(field.metadata["choices"]) == set(table) | own
    assert set(field.metadata["formerly"].values()) <= set(table)
