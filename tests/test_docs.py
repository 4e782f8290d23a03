"""What README and docs show: Python runs, commands are ones that the command line takes.

Trainings and draws are made small. What they come to is not looked at here: pages say nothing that
other tests do not hold; here it is whether a reader can do what is shown.
"""

import re
import shlex
import shutil
import sys
from pathlib import Path

import click
import jax
import pytest
from command_line import call

from lattice_flows.runs.options import Options
from lattice_flows.scripts.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = [ROOT / "examples" / name for name in ("phi4_chain.py", "own_theory.py")]
OWN = ("anharmonic", "my_observables")
SMALL = {
    r"\bsteps=\d+": "steps=2",
    # what compiles fast: no base to be fitted, no walkers to be annealed
    r"\bbatch=\d+": 'batch=32, width=4, ode_steps=4, base="ultralocal", points="trajectories", '
    'field="convolutional"',
    r"\b(4096|8192)\b": "128",
    r"\(16,\)": "(8,)",  # one lattice, so that pages share what is compiled
}


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```", page.read_text(), re.M | re.S)
    return [text for language, text in found if language in languages]


def small(code: str) -> str:
    for number, less in SMALL.items():
        code = re.sub(number, less, code)
    return code


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files that pages speak of, and jax as readers have it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "agg")
    held = {name: sys.modules.pop(name) for name in OWN if name in sys.modules}
    for name in OWN:
        shutil.copy(ROOT / "examples" / f"{name}.py", tmp_path)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield tmp_path
    for name in OWN:
        sys.modules.pop(name, None)
    sys.modules.update(held)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=named)
def test_python_of_a_page_runs(page, workplace):
    if page.name == "files.md":  # that there are files is what it begins with
        for name, m in {"scan": "0.25:1:4", "low": "0.25:0.5:2", "high": "0.75:1:2"}.items():
            made = call("exact", "phi4", "--sites", 2, "--m", m, "-o", f"{name}.nc")
            assert made.exit_code == 0, made.output
    namespace = {"__name__": "page"}
    for code in blocks(page, "python"):
        exec(compile(small(code), named(page), "exec"), namespace)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=named)
def test_notebooks_run_and_draw(notebook, workplace):
    code = small(notebook.read_text())
    assert all(less in code for less in ("steps=2,", "batch=32", "128"))
    exec(compile(code, named(notebook), "exec"), {"__name__": "notebook"})
    assert (workplace / f"{notebook.stem}.png").stat().st_size > 10_000


def commands(text: str) -> list[list[str]]:
    """The command lines of lattice-flows in a text; 1 stands for variables of the shell."""
    lines = re.sub(r"\$\w+", "1", text.replace("\\\n", " ")).splitlines()
    found = [re.search(r"\blattice-flows (?!\W)(.*)", line) for line in lines]
    return [shlex.split(line[1], comments=True) for line in found if line]


def spoken_of(page: Path) -> list[list[str]]:
    """The commands in the running text, between backticks, that are whole."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    said = (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text))
    split = [shlex.split(code.removeprefix("lattice-flows ")) for code in said if "'" not in code]
    return [
        words
        for words in split
        if words and words[0] in main.commands and len(words) > 1 and "…" not in "".join(words)
    ]


def parse(words: list[str]) -> None:
    """Let Click parse a command line, without running it."""
    command = main.commands[words[0]]
    with command.make_context(words[0], list(words[1:])):
        pass


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_of_a_page_are_taken(page, workplace):
    for block in blocks(page, "sh", "shell", ""):
        for words in commands(block):
            parse(words)
    for words in spoken_of(page):
        try:
            parse(words)
        except click.ClickException as error:
            # `scan --combine`: an option is spoken of, not a whole command
            assert "Missing" in error.format_message(), " ".join(words)


def test_examples_of_the_help_are_taken(workplace):
    for name, command in main.commands.items():
        shown = commands(command.help)
        assert shown, name
        for words in shown:
            parse(words)


def test_commands_are_found_in_blocks_and_in_text():
    assert sum(len(commands(block)) for page in PAGES for block in blocks(page, "sh")) > 30
    assert sum(len(spoken_of(page)) for page in PAGES) > 20


def test_a_wrong_option_is_seen():
    with pytest.raises(click.ClickException, match=r"(?i)no such option"):
        parse(shlex.split("train runs/cycle --theory phi4 --sits 16"))


def test_the_theory_that_is_shown_is_that_of_the_examples():
    (code,) = blocks(ROOT / "docs" / "own-theory.md", "python")
    assert code in (ROOT / "examples" / "anharmonic.py").read_text()


def test_the_observables_that_are_shown_are_those_of_the_examples():
    shown = blocks(ROOT / "docs" / "own-observable.md", "python")[:2]
    code = (ROOT / "examples" / "my_observables.py").read_text()
    assert all(part in code for part in shown)


def test_every_choice_of_a_training_is_told_of():
    text = (ROOT / "docs" / "choosing.md").read_text()
    for option in Options.__dataclass_fields__.values():
        for choice in option.metadata.get("choices", ()):
            assert choice == "auto" or f"`{choice}`" in text, f"{option.name}: {choice}"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 6000
