"""Commands whose output goes nowhere, inherited environments, and requests out of bounds."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import click
import jax
import numpy as np
import pytest
from command_line import call, refused

import theories
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.figures.plots import plot_file
from lattice_flows.io.netcdf import Variable, read_dataset, write_dataset
from lattice_flows.runs.config import Config
from lattice_flows.runs.resources import refuse_draws
from lattice_flows.scripts import _environment, _options, _output, _streams
from lattice_flows.scripts._command import Command, Failure
from lattice_flows.scripts._progress import progress
from lattice_flows.scripts._words import as_typed
from lattice_flows.scripts.cli import main
from theories.errors import LatticeFlowsError

EXACT = ["exact", "phi4", "--sites", "8"]

pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


class Full(io.StringIO):
    """A stream on a full disk."""

    terminal = False

    def write(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self):
        self.write("")

    def isatty(self):
        return self.terminal


# results are saved before they are shown


def test_a_result_that_cannot_be_shown_is_saved():
    """As a process of its own: what is left in a buffer must not end it otherwise."""
    command = [sys.executable, "-m", "lattice_flows.scripts.cli", *EXACT]
    with open("/dev/full", "w") as full:
        done = subprocess.run([*command, "-o", "full.nc"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert re.fullmatch(rb"Error: standard output cannot be written [^\n]+\n", done.stderr)
    read, write = os.pipe()
    os.close(read)  # the reader has gone
    done = subprocess.run([*command, "-o", "gone.nc"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 1 and done.stderr == b""
    with open("/dev/full", "w") as full:  # a log that nobody can read
        done = subprocess.run(
            [*command, "--m", "0.5,1", "-o", "log.nc"], stdout=subprocess.PIPE, stderr=full
        )
    assert done.returncode == 0 and done.stdout.count(b"\n") == 3
    for name in ("full.nc", "gone.nc", "log.nc"):
        assert "log_z" in read_dataset(name)


def test_streams_that_are_closed_take_no_file_for_theirs():
    """The first file that a process opens without them would have their number."""
    lf = f"{sys.executable} -m lattice_flows.scripts.cli"
    for closed, code in (("2>&-", 0), (">&-", 1), ("<&- >&- 2>&-", 1)):
        args = "--m 0.5,1 -o closed.nc --overwrite"
        done = subprocess.run(
            ["sh", "-c", f"{lf} {' '.join(EXACT)} {args} {closed}"], capture_output=True
        )
        assert done.returncode == code, done
        if closed == ">&-":
            assert b"Error: standard output cannot be written" in done.stderr
        assert "log_z" in read_dataset("closed.nc")
        Path("closed.nc").unlink()


def test_progress_without_a_standard_error(monkeypatch, capfd):
    monkeypatch.setattr(sys, "stderr", None)
    with _streams.forgiving(), progress("train r", 1, every=0) as report:
        report(1, {})
    assert sys.stderr is None and capfd.readouterr() == ("", "")


def test_every_command_saves_before_it_prints(monkeypatch):
    def fail(text=None, err=False, **_):
        if not err:
            raise OSError(errno.ENOSPC, "No space left on device")

    draws = theories.Phi4((4,))
    ensemble = draws.exact(draws.from_values()).sample(np.random.default_rng(1), 400)
    Ensemble(draws, draws.from_values(), ensemble).save("e.nc")
    monkeypatch.setattr(click, "echo", fail)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    commands = {
        "measure": ["measure", "e.nc", "-o", "m.nc"],
        "correlator": ["correlator", "e.nc", "-o", "c.json"],
        "plot": ["plot", "e.nc", "-o", "p.png", "--json"],
        "reproduce": ["reproduce", "teleportation", "-o", "t.json"],
    }
    for name, args in commands.items():
        with pytest.raises(Failure, match="standard output cannot be written"):
            main.main([str(arg) for arg in args], standalone_mode=False)
        assert Path(args[args.index("-o") + 1]).stat().st_size > 100, name


@pytest.mark.parametrize("command", ["measure", "correlator"])
def test_what_cannot_be_written_is_shown(command, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    theory = theories.Phi4((4,))
    draws = theory.exact(theory.from_values()).sample(np.random.default_rng(1), 400)
    Ensemble(theory, theory.from_values(), draws).save("e.nc")
    monkeypatch.setattr("lattice_flows.io.atomic._fsync", full)
    result = call(command, "e.nc", "-o", "out.json", "--json")
    assert result.exit_code == 1 and "cannot write out.json" in result.stderr
    assert json.loads(result.stdout)["reliable"]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch, terminal):
    stream = Full()
    stream.terminal = terminal
    monkeypatch.setattr(sys, "stderr", stream)
    with _streams.forgiving():
        _output.say("begun")
        with progress("train r", 2, every=0) as report:
            report(1, {"loss": 0.5})
            report(2, {"loss": 0.25})
        print("a library's remark", file=sys.stderr)
    assert sys.stderr is stream


def test_characters_that_an_encoding_lacks_are_put_in_words(monkeypatch):
    for encoding, expected in (("latin-1", b"\xb1 phi sqrt 2 ? \xff"), ("ascii", None)):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
        with _streams.forgiving():
            print("± φ √2 ☂ \udcff", end="", flush=True)
        assert raw.getvalue() == (expected or b"+/- phi sqrt 2 ? \xff")


# the environment


def test_figures_are_drawn_whatever_a_notebook_says():
    backend = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "MPLCONFIGDIR": "/proc/x"}
    code = (
        "from lattice_flows.scripts import _environment; _environment.settle(); "
        "import matplotlib; from matplotlib.figure import Figure; Figure().savefig('f.png')"
    )
    environment = {**os.environ, **backend}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0 and done.stderr.count(b"\n") <= 1, done.stderr
    assert Path("f.png").exists()


def test_a_variable_that_jax_cannot_start_with_is_one_line():
    command = [sys.executable, "-m", "lattice_flows.scripts.cli", *EXACT]
    environment = {**os.environ, "JAX_ENABLE_X64": "maybe"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "Error: jax cannot start with JAX_ENABLE_X64=maybe: unset it\n"


def test_devices_that_are_not_there_are_one_line(monkeypatch):
    def devices():
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", devices)
    said = _environment.explain(AssertionError())
    assert said is not None and "JAX_PLATFORMS=cuda" in said and "set JAX_PLATFORMS=cpu" in said
    monkeypatch.undo()
    assert _environment.explain(AssertionError("a defect of ours")) is None


@pytest.mark.parametrize("name", ["JAX_DISABLE_JIT", "JAX_DEBUG_NANS", "JAX_TRANSFER_GUARD"])
def test_switches_for_debugging_are_named_where_something_stops(monkeypatch, name):
    def fail(*args):
        raise FloatingPointError("nan\nin a line of its own")

    monkeypatch.setattr("lattice_flows.ensembles.result.exact_result", fail)
    assert isinstance(call(*EXACT).exception, FloatingPointError)  # a defect of ours
    monkeypatch.setenv(name, "1")
    assert f"jax stops with {name}=1 (nan): unset that" in refused(*EXACT)


# flags and couplings


@pytest.mark.parametrize("name", theories.THEORIES)
def test_what_is_advised_exists(name):
    """The flags that a message names are flags of the commands that print it."""
    shape = theories.find(name).own_shape or (4,)
    plain = Config(theory=name, shape=shape)
    commands = [main.commands[command] for command in ("evaluate", "sample", "scan")]
    known = {
        spelling
        for command in commands
        for parameter in command.get_params(click.Context(command))
        for spelling in parameter.opts
    }
    for coupling, value in plain.couplings.items():
        assert isinstance(value, float)
        ranged = Config(theory=name, shape=shape, couplings={coupling: (value, value + 0.5)})
        for point in ({}, {coupling: value + 1}):
            with pytest.raises(LatticeFlowsError) as caught:
                ranged.check_couplings(point)
            named = re.findall(r"--[a-z][a-z_-]*", as_typed(str(caught.value)))
            assert named and set(named) <= known, caught.value


def test_alpha_is_0_in_more_than_one_dimension():
    assert theories.Phi4((16,)).from_values().alpha == 0.01
    for shape in ((4, 4), (2, 2, 2)):
        assert theories.Phi4(shape).from_values(m=0.3) == (0.3, 1 / 16, 0.0)
        assert theories.Phi4(shape).from_values(alpha=0.02).alpha == 0.02
        assert Config(theory="phi4", shape=shape).couplings["alpha"] == 0.0
    old = json.loads(Config(theory="phi4", shape=(4, 4)).to_json())
    old["couplings"]["alpha"] = 0.01  # as runs of before say
    assert Config.from_json(json.dumps(old)).couplings["alpha"] == 0.01
    del old["couplings"]["alpha"]
    with pytest.raises(LatticeFlowsError, match="lacks the coupling alpha"):
        Config.from_json(json.dumps(old))


def test_couplings_in_use_are_said_first():
    said = call(*EXACT, "--m", "0.5,0.75,1").stderr
    assert said == "phi4  8 sites  m 0.5:1:3  lam 0.0625  alpha 0.01\n"
    assert call(*EXACT, "--m", "0.5,0.75,1", "--json").stderr == ""


def test_commands_do_not_share_random_numbers():
    names = [*main.commands, "train"]
    keys = {str(jax.random.key_data(_options.command_key(name, 7))) for name in names}
    keys.add(str(jax.random.key_data(jax.random.key(7))))
    assert len(keys) == len(set(names)) + 1
    expected = jax.random.fold_in(jax.random.key(0), np.uint32(zlib.crc32(b"sample")))
    assert _options.command_key("sample", None) == expected  # the same from version to version


# out of bounds


def test_draws_are_on_the_disk_twice_while_they_are_written(monkeypatch, tmp_path):
    """Joined, and in the output: 8 bytes a number."""
    free = SimpleNamespace(free=2 * 8 * 10_000 * (16 + 1))
    monkeypatch.setattr("lattice_flows.runs.resources.shutil.disk_usage", lambda path: free)
    refuse_draws(10_000, 16, tmp_path / "e.nc")
    with pytest.raises(LatticeFlowsError, match=r"of disk, of 2.59 MiB free"):
        refuse_draws(10_001, 16, tmp_path / "e.nc")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ([*EXACT, "--m", "0:1:99999999999999999999"], 2, "10000 coupling points at most"),
        ([*EXACT, "--m", "0:1:1000", "--lam", "1:2:1000"], 2, "10000 coupling points at most"),
        ([*EXACT, "--m", "0,5"], 2, "a decimal point is needed"),
        ([*EXACT, "--m", "٣"], 2, "not a value"),
        ([*EXACT, "-o", "x.csv"], 2, "end it in .nc or .json"),
        (["exact", "phi4", "--sites", "9" * 20], 1, "1e+20 sites is too large"),
        (["exact", "phi4", "--sites", "1" + "0" * 400], 1, "1e+99 sites is too large"),
        (["exact", "free-field", "--shape", "99999x99999"], 1, "74.5 GiB"),
        (["exact", "phi4", "--shape", "x".join("2" * 9)], 2, "8 sides at most"),
        (["hmc", "phi4", "--sites", 16, "-n", 10**11, "-o", "h.nc"], 1, "of disk"),
        (
            ["hmc", "phi4", "--sites", 10**7, "--chains", 10**6, "-n", 2, "-o", "h.nc"],
            1,
            "of memory",
        ),
        (["hmc", "phi4", "--sites", 16, "--every", 10**20, "-o", "h.nc"], 2, "--every"),
        (["train", "r", "--theory", "phi4", "--sites", 16, "--width", 10**6], 1, "of memory"),
        (["train", "r", "--theory", "phi4", "--sites", 16, "--batch", 10**8], 1, "of memory"),
        (["train", "r", "--theory", "phi4", "--sites", 16, "--steps", 10**20], 1, "at most"),
        (["train", "r", "--theory", "phi4", "--sites", 16, "--ode-steps", 10**9], 1, "at most"),
        (["train", "r", "--theory", "phi4", "--sites", 16, "--save-every", "nan"], 2, "finite"),
        (["reproduce", "table2", "--seeds", 10**9], 2, "--seeds"),
    ],
)
def test_what_is_beyond_all_bounds_is_one_line(monkeypatch, args, code, words):
    monkeypatch.setattr("lattice_flows.runs.resources.memory", lambda: 64 * 2.0**30)
    assert words in refused(*args, code=code)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"sites": 4.5}', "sites must be a whole number, not 4.5"),
        ('{"sites": true}', "sites must be a whole number, not true"),
        ('{"json": 1}', "json must be true or false, not 1"),
        ('{"m": [0.5]}', "m must be a number"),
        ('{"output": 3}', "output must be text"),
        ('{"output": "a\\u0000b.nc"}', "control characters"),
        ('{"config": "o.json"}', "sets config"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_options_in_a_file_have_kinds(text, words):
    Path("o.json").write_text(text)
    assert words in refused(*EXACT, "--config", "o.json", code=2)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating")]
)
def test_memory_that_runs_out_is_one_line(monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr("lattice_flows.ensembles.result.exact_result", fail)
    assert "out of memory" in refused(*EXACT, code=1)


def test_underscores_are_dashes():
    @click.command(cls=Command)
    @click.option("--ode-steps", type=int)
    def command(ode_steps):
        click.echo(ode_steps)

    from click.testing import CliRunner

    assert CliRunner().invoke(command, ["--ode_steps", "3"]).stdout == "3\n"


# figures


def stored(**changes) -> dict[str, Variable]:
    """A scan of one observable."""
    at, three = ("coupling_point",), np.array([0.1, 0.2, 0.3])
    variables = {
        "m": Variable(at, three, "m"),
        "second_moment": Variable(at, three, "x"),
        "second_moment_stderr": Variable(at, three, "x"),
        "log_z": Variable(at, three, "x"),
        "log_z_stderr": Variable(at, three, "x"),
        "ess": Variable(at, three, "ess"),
        "reliable": Variable(at, np.array([True, True, False]), "r"),
    }
    return {**variables, **changes}


POINT = ("coupling_point",)


@pytest.mark.parametrize(
    ("name", "variable", "words"),
    [
        ("ess", Variable(POINT, np.array([0.1, 2.0, 0.3]), "x"), "ess is not between"),
        ("ess", Variable((), np.array(0.5), "x"), "ess has dimensions"),
        ("m", Variable(POINT, np.array([0.1, np.nan, 0.3]), "x"), "m is not finite"),
        ("m", Variable(POINT, np.array(["a", "b", "c"]), "x"), "does not hold numbers"),
        ("reliable", Variable(POINT, np.array([0.0, 1.0, 0.5]), "x"), "neither true nor"),
        ("second_moment", Variable(POINT, np.array([np.nan, 1, 1]), "x"), "said to be reliable"),
        ("second_moment", Variable(POINT, np.array([1, 1, 1e200]), "x"), "is not finite"),
        ("log_z_stderr", Variable(POINT, np.array([0.1, -1, 0.1]), "x"), "is negative"),
        ("m_curve", Variable(POINT, np.array([0.1, 0.2, 0.3]), "x"), "m_curve has dimensions"),
    ],
)
def test_a_damaged_scan_is_not_drawn(name, variable, words):
    config = {"theory": "phi4", "shape": [4]}
    write_dataset("s.nc", "scan", stored(), title="t", config=config)
    plot_file("s.nc")
    write_dataset("s.nc", "scan", stored(**{name: variable}), title="t", config=config)
    assert words in refused("plot", "s.nc")
    assert not Path("s.png").exists()


@pytest.mark.parametrize("config", [[], {"theory": 3}, {"theory": "phi4", "shape": "4"}])
def test_a_file_that_does_not_say_what_it_is_of_is_not_drawn(config):
    write_dataset("s.nc", "scan", stored(), title="t", config={"theory": "phi4", "shape": [4]})
    data = read_dataset("s.nc")
    object.__setattr__(data, "attributes", {**data.attributes, "lf_config": json.dumps(config)})
    from lattice_flows.figures.checks import check

    with pytest.raises(LatticeFlowsError, match=r"does not say|no readable attribute"):
        check(data)
