import dataclasses
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import xarray
from command_line import call, refused

import theories
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.result import Measured
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from lattice_flows.scripts import _output, _verdict
from lattice_flows.scripts._command import Failure
from lattice_flows.scripts._progress import progress
from lattice_flows.scripts.cli import main
from observables import Estimate, Measurement

SCRIPTS = Path(__file__).parents[1] / "scripts"
COMMANDS = list(main.commands)
EXACT = ["exact", "phi4", "--sites", "16"]
TRAIN = ["--theory", "phi4", "--sites", "4", "--m", "0.25:1", "--steps", "3"]


pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


@pytest.fixture
def run():
    """A run directory before its first checkpoint."""
    config = Config(theory="phi4", shape=(4,), couplings={"m": (0.25, 1)}, steps=3)
    return Run.create("run", config)


# help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_and_has_the_common_flags(name):
    text = call(name, "--help").stdout
    assert re.search(rf"Examples?:\n +lattice-flows {name} ", text)
    for flag in ("--json", "--seed", "--x64", "--config", "-o,", "--overwrite"):
        assert flag in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_script_of_its_own(name):
    done = subprocess.run(
        [sys.executable, SCRIPTS / f"{name}.py", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith(f"Usage: {name}.py")


def test_help_loads_nothing_heavy():
    heavy = {"jax", "haiku", "optax", "diffrax", "scipy", "netCDF4", "matplotlib", "rich"}
    code = "import sys, lattice_flows.scripts.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())


def test_version():
    assert re.fullmatch(r"lattice-flows, version \d+\.\d+.*\n", call("--version").stdout)


def test_the_flags_are_the_couplings_of_the_theories():
    shown = call("train", "--help").stdout.partition("Couplings:")[2]
    flags = set(re.findall(r"^  --([a-z-]+) VALUES", shown, re.MULTILINE))
    every = {c for t in theories.known().values() for c in t.Couplings._fields}
    assert flags == {name.replace("_", "-") for name in every}
    own = call("train", "--theory", "phi4-hopping", "--help").stdout.partition("Couplings:")[2]
    assert re.findall(r"^  --([a-z-]+) VALUES", own, re.MULTILINE) == ["lam", "kappa"]


def test_every_coupling_says_what_it_is():
    for theory in theories.THEORIES.values():
        assert all(fact.help and fact.symbol for fact in theory.facts().values())


# bad input


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["exact", "phi6", "--sites", 16], 1, ["phi6", "phi4", "double-well"]),
        (["exact", "phi4", "--sites", 1], 1, ["at least 2"]),
        (["exact", "phi4", "--sites", "x"], 2, ["--sites"]),
        (["exact", "phi4"], 2, ["--sites"]),
        (["exact", "phi4", "--shape", "4x4x4"], 1, ["one or two dimensions"]),
        (["exact", "phi4", "--shape", "15x15"], 1, ["would take", "GB", "too long"]),
        (["exact", "phi4", "--shape", "4by4"], 2, ["8x8"]),
        ([*EXACT, "--shape", "8x8"], 2, ["not both"]),
        ([*EXACT, "--lam", 0], 1, ["lam", "greater than 0"]),
        ([*EXACT, "--lam", -1], 1, ["lam", "greater than 0"]),
        ([*EXACT, "--m", "nan"], 2, ["finite"]),
        ([*EXACT, "--m", "0.25:1"], 2, ["count", "0.25:1:16"]),
        ([*EXACT, "--tilt", 1], 2, ["phi4 has no coupling tilt", "m, lam, alpha"]),
        ([*EXACT, "--frob", 1], 2, ["--frob"]),
        (["exact", "double-well", "--sites", 8, "--m", 1, "--mu", 2], 2, ["mu is given twice"]),
        (["exact", "double-well", "--sites", 8, "--alpha", 1], 2, ["no coupling alpha"]),
        (["frobnicate"], 2, ["frobnicate"]),
        (["train", "r"], 2, ["--theory and --sites"]),
        (["train", "r", "--resume"], 2, ["no run at r", "--theory and --sites"]),
        (["train", "r", "--theory", "phi6", "--sites", 4], 1, ["phi6"]),
        (["train", "r", *TRAIN, "--m", "0:1:3"], 2, ["continuous range", "--m 0:1"]),
        (["train", "r", *TRAIN, "--lam", "0:1"], 1, ["lam"]),
        (["train", "r", *TRAIN, "--steps", 0], 1, ["--steps"]),
        (["train", "r", *TRAIN, "--field", "corn"], 2, ["--field"]),
        (["train", "r", *TRAIN, "--resume", "--overwrite"], 2, ["not both"]),
        (["evaluate", "r"], 1, ["r does not exist", "lattice-flows train r"]),
        (["sample", "r"], 2, ["-o"]),
        (["sample", "r", "-n", 1, "-o", "e.nc"], 2, ["-n"]),
        (["scan", "r", "--plot", "scan.png"], 2, ["-o FILE.nc"]),
        (["measure", "no.nc"], 1, ["no.nc does not exist"]),
        (["plot", "no.nc"], 1, ["no.nc does not exist"]),
    ],
)
def test_bad_input_is_one_line(args, code, words):
    message = refused(*args, code=code)
    for word in words:
        assert word in message
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["evaluate", "sample", "scan"])
@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--m", 1.5], 1, ["m = 1.5", "trained on (m 0.25:1", "--extrapolate"]),
        (["--m", 0.5, "--lam", 0.1], 1, ["lam = 0.1", "lam 0.0625", "--extrapolate"]),
        (["--m", 0.5, "--mass", 1], 2, ["no coupling mass"]),
        (["--m", 0.5, "--lam", -1, "--extrapolate"], 1, ["lam", "greater than 0"]),
        (["--alpha", 0.01], 1, ["m was trained on 0.25:1", "--m 0.25"]),
    ],
)
def test_couplings_that_were_not_trained_are_refused(run, name, args, code, words):
    message = refused(name, run.path, *args, "-o", "out.nc", code=code)
    for word in words:
        assert word in message
    assert not Path("out.nc").exists()


def test_an_ensemble_is_of_one_point(run):
    message = refused("sample", run.path, "--m", "0.5,1", "-o", "out.nc", code=2)
    assert "--m takes a single value" in message


def test_a_range_to_evaluate_needs_a_count(run):
    message = refused("evaluate", run.path, "--m", "0.5:1", "-o", "out.nc", code=2)
    assert "--m needs a count here" in message


def test_a_scan_over_an_untrained_range_is_refused(run):
    for name in ("scan", "evaluate"):
        assert "m = 1.5" in refused(name, run.path, "--m", "0.5:1.5:3", "-o", "scan.nc")
    assert "alpha = 0" in refused("scan", run.path, "--m", 1, "--alpha", "0:1:3", "-o", "s.nc")


@pytest.mark.parametrize("name", ["evaluate", "sample", "scan"])
def test_a_directory_that_is_no_run_is_refused(name):
    Path("thesis").mkdir()
    assert "not a run directory" in refused(name, "thesis", "-o", "out.nc")


@pytest.mark.parametrize("name", ["evaluate", "sample", "scan"])
def test_a_damaged_or_newer_run_is_refused(run, name):
    file = run.path / "config.json"
    text = file.read_text()
    file.write_text(text[:50])
    assert "damaged" in refused(name, run.path, "-o", "out.nc")
    file.write_text(text.replace('_version": 1', '_version": 2'))
    assert "upgrade lattice-flows" in refused(name, run.path, "-o", "out.nc")


@pytest.mark.parametrize("name", ["measure", "plot"])
def test_a_foreign_or_truncated_file_is_refused(name):
    Path("foreign.nc").write_text("not netCDF")
    assert "not a netCDF file" in refused(name, "foreign.nc")
    xarray.Dataset({"a": ("x", [1.0])}).to_netcdf("other.nc", engine="netcdf4")
    assert "not written by lattice-flows" in refused(name, "other.nc")
    assert call(*EXACT, "-o", "exact.nc").exit_code == 0
    assert "exact-table" in refused(name, "exact.nc")
    whole = Path("exact.nc").read_bytes()
    Path("torn.nc").write_bytes(whole[: len(whole) // 8])
    assert "only a part of one" in refused(name, "torn.nc")


# outputs


def test_an_existing_output_is_kept_unless_overwritten():
    Path("exact.nc").write_text("precious")
    assert "--overwrite" in refused(*EXACT, "-o", "exact.nc")
    assert Path("exact.nc").read_text() == "precious"
    assert call(*EXACT, "-o", "exact.nc", "--overwrite").exit_code == 0
    assert Path("exact.nc").read_bytes() != b"precious"


@pytest.mark.parametrize(
    "args",
    [
        ["sample", "run", "--m", 1, "-o", "kept"],
        ["evaluate", "run", "--m", 1, "-o", "kept"],
        ["scan", "run", "-o", "kept"],
        ["scan", "run", "-o", "new.nc", "--plot", "kept"],
        ["measure", "ensemble.nc", "-o", "kept"],
        ["plot", "scan.nc", "-o", "kept"],
        ["train", "new", *TRAIN, "-o", "kept"],
    ],
)
def test_every_command_refuses_an_existing_output(run, args):
    Path("kept").write_text("precious")
    assert "kept exists" in refused(*args)


def test_a_place_that_cannot_be_written_is_one_line():
    Path("file").write_text("")
    assert "not a directory" in refused(*EXACT, "-o", "file/exact.nc")
    assert "mkdir" in refused(*EXACT, "-o", "no/exact.nc")
    late = call(*EXACT, "-o", "/proc/exact.nc")  # the answers are shown all the same
    assert late.exit_code == 1 and "log_z" in late.stdout
    assert re.fullmatch(r"Error: cannot write /proc/exact.nc: [^\n]+\n", late.stderr)
    assert "/proc/run" in refused("train", "/proc/run", *TRAIN)


@pytest.mark.parametrize("name", ["exact.nc", "exact.json"])
def test_a_full_disk_is_one_line_and_leaves_no_part(name):
    """A limit on the size of files stands in for the full disk."""

    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)); "
        f"from lattice_flows.scripts.cli import main; main({[*EXACT, '-o', name]!r})"
    )
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(rf"Error: cannot write {name}: [^\n]+\n", done.stderr)
    assert not list(Path().iterdir())


CTRL_C = "os.kill(os.getpid(), signal.SIGINT)"
UNSEEN = f"with contextlib.suppress(KeyboardInterrupt): {CTRL_C}"  # as in a callback


@pytest.mark.parametrize("body", [CTRL_C, "import stopped", f"{UNSEEN}\n{CTRL_C}"])
def test_ctrl_c_is_one_line_whenever_it_comes(body):
    """At work, while a module is loaded, and where the first one is lost."""
    Path("stopped.py").write_text(f"import os, signal; {CTRL_C}")
    code = f"""
import click, contextlib, os, signal, sys
from lattice_flows.scripts._command import Command
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, "")
click.command(cls=Command)(lambda: exec({body!r}, globals()))()
"""
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"Error: interrupted before it was done[^\n]+\n", done.stderr), done.stderr


def test_a_number_that_is_not_finite_is_never_printed():
    result = {"observables": {"phi2": {"value": np.float64("nan")}}, "ess": 1.0}
    with pytest.raises(Failure, match=r"observables\.phi2\.value is not a finite number"):
        _output.json_text(result)
    with pytest.raises(Failure, match="x is not a finite number"):
        _output.json_text({"x": np.array([1.0, np.inf])})


def test_unreliable_results_leave_with_3():
    theory, found = theories.Phi4((4,)), {"phi2": Estimate(1.0, 0.1)}

    def measured(m, *failed):
        measurement = Measurement(found, None, 0.01, 0.6, 9, failed)
        return Measured(theory, theory.from_values(m=m), measurement)

    _verdict.check_reliable(measured(0.5))
    with pytest.raises(Failure, match=r"unreliable.*m 1.*one draw has too much") as caught:
        _verdict.check_reliable(measured(0.5), measured(1.0, "weight_share"))
    assert caught.value.exit_code == 3


# ensembles


@pytest.fixture
def ensemble():
    """Exact draws."""
    theory = theories.Phi4((4,))
    couplings = theory.from_values(m=0.5)
    draws = theories.TransferMatrix(theory, couplings).sample(np.random.default_rng(1), 400)
    return Ensemble(theory, couplings, draws)


def test_measure_reports_and_writes_observables(ensemble):
    ensemble.save("ensemble.nc")
    result = call("measure", "ensemble.nc", "-o", "observables.nc", "--json")
    answer = json.loads(result.stdout, parse_constant=pytest.fail)
    assert result.exit_code == 0
    assert answer["couplings"] == {"m": 0.5, "lam": 1 / 16, "alpha": 0.01}
    assert answer["n"] == 400 and answer["reliable"] and answer["log_z"] is None
    measured = answer["observables"]["abs_magnetization"]
    with xarray.open_dataset("observables.nc") as observables:
        assert observables["abs_magnetization"] == measured["value"]
        assert observables["abs_magnetization_stderr"] == measured["stderr"]
    assert " ± " in call("measure", "ensemble.nc").stdout


def test_measure_leaves_with_3_where_one_weight_rules(ensemble):
    log_weights = np.zeros(400)
    log_weights[7] = 30
    dataclasses.replace(ensemble, log_weights=log_weights).save("ensemble.nc")
    result = call("measure", "ensemble.nc", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["reliable"] is False
    assert re.fullmatch(r"Error: unreliable: [^\n]+\n", result.stderr)


@pytest.mark.parametrize("figure", [None, "figure.pdf"])
def test_plot_draws_a_file(ensemble, figure):
    ensemble.save("ensemble.nc")
    assert call("plot", "ensemble.nc", *([] if figure is None else ["-o", figure])).exit_code == 0
    written = Path(figure or "ensemble.png").read_bytes()
    assert written.startswith(b"%PDF" if figure else b"\x89PNG")
    if figure is None:
        assert "ensemble.png exists" in refused("plot", "ensemble.nc")


# defaults from a file


def test_options_from_a_file_and_flags_over_them():
    Path("o.json").write_text('{"sites": 16, "m": "0.5,1", "json": true}')
    answer = json.loads(call("exact", "phi4", "--config", "o.json").stdout)
    assert [point["couplings"]["m"] for point in answer["points"]] == [0.5, 1.0]
    answer = json.loads(call("exact", "phi4", "--m", 0.75, "--config", "o.json").stdout)
    assert answer["couplings"]["m"] == 0.75


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "one JSON object"),
        ('{"step": 3}', "sets step, which this command does not have"),
        (None, "cannot read o.json"),
    ],
)
def test_a_bad_file_of_options_is_one_line(text, words):
    if text is not None:
        Path("o.json").write_text(text)
    assert words in refused(*EXACT, "--config", "o.json", code=2)


# progress


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress("train r", 100, every=1000) as report:
        for step in range(1, 101):
            report(step, {"step": step, "loss": 0.5})
    assert re.fullmatch(r"train r 100/100  \d+ s  loss 0.5\n", sys.stderr.getvalue())


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("train r", 2) as report:
        report(1, {"loss": 0.25})
    assert "loss 0.25" in sys.stderr.getvalue() and "1/2" in sys.stderr.getvalue()


def test_commands_are_click_commands():
    assert all(isinstance(command, click.Command) for command in main.commands.values())
