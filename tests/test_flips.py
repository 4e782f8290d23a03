"""One flipped bit in any file is noticed: refused in one line, told in a note, or harmless.

Thirty flips a kind in the default lane, a thousand in the thorough one. No flip may pass silently:
what is read must be what was written, or somebody is told.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import theories
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.result import Answers, Compared, exact_result
from lattice_flows.ensembles.results_file import save_measurement, save_results
from lattice_flows.io.netcdf import Variable, estimate_variables, read_dataset, write_dataset
from lattice_flows.runs.config import Config
from lattice_flows.runs.info import describe_path
from lattice_flows.runs.run import Run
from theories.errors import LatticeFlowsError

THEORY = theories.make("phi4", (4,))
COUPLINGS = THEORY.from_values(m=0.5)
STATE = {"weights": np.linspace(0, 1, 300, dtype=np.float32), "step": np.int32(20)}
START = {"field": {"weights": np.linspace(0, 1, 30, dtype=np.float32)}}


def ensemble(n: int = 512) -> Ensemble:
    rng = np.random.default_rng(1)
    return Ensemble(THEORY, COUPLINGS, rng.normal(size=(n, 4)), rng.normal(size=n))


def results() -> list[Compared]:
    points = [THEORY.from_values(m=m) for m in (0.25, 0.5)]
    measured = ensemble().measure()
    return [Compared(THEORY, point, measured, exact={"magnetization": 0.0}) for point in points]


def answers() -> Answers:
    return exact_result(THEORY, COUPLINGS)


def write_correlator(path: Path) -> None:
    """As `correlator` writes it, in its variables' kinds."""
    at = ("distance",)
    found = estimate_variables("correlator", np.ones(3), np.ones(3), "connected correlator", at)
    write_dataset(path, "correlator", found, title="correlator", config={"theory": "phi4"})


def write_reproduction(path: Path) -> None:
    axis = ("row",)
    rows = {"quantity": Variable(axis, np.array(["ESS", "log Z"]), "what the row is of")}
    rows |= estimate_variables("ours", np.ones(2), np.ones(2), "value computed here", axis)
    write_dataset(path, "reproduction", rows, title="table", config={"experiment": "table"})


def curve() -> dict[str, Variable]:
    values = np.linspace(0, 1, 61)
    return {"m_curve": Variable(("exact_point",), values, "exact curve of m", group="exact_curve")}


WRITERS: dict[str, Callable[[Path], Any]] = {
    "ensemble": lambda path: ensemble().save(path),
    "observables": lambda path: save_measurement(path, ensemble(), ensemble().measure()),
    "scan": lambda path: save_results(path, "scan", results(), curve()),
    "exact-table": lambda path: save_results(
        path, "exact-table", [exact_result(THEORY, COUPLINGS)]
    ),
    "correlator": write_correlator,
    "reproduction": write_reproduction,
}


def dataset_content(path: Path) -> Any:
    dataset = read_dataset(path)
    assert dataset.attributes["lf_format"] in WRITERS
    return (
        {name: np.asarray(v).tolist() for name, v in dataset.attributes.items()},
        {
            name: (
                v.dimensions,
                v.long_name,
                v.units,
                {key: np.asarray(value).tolist() for key, value in v.attributes.items()},
                v.data.dtype,
                v.data.tolist() if v.data.dtype == object else v.data.tobytes(),
            )
            for name, v in dataset.variables.items()
        },
    )


def flips(whole: bytes, number: int, seed: int):
    """The bytes with one bit flipped, `number` times; the first and last bytes among them."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, len(whole), number)
    places[:2] = 0, len(whole) - 1
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        yield int(place), bytes(flipped)


def check(path: Path, read: Callable[[], Any], number: int, caplog: Any) -> dict[str, int]:
    """Flip bits and read; how often it was refused, told, or harmless."""
    whole, expected = path.read_bytes(), read()
    outcome = {"refused": 0, "told": 0, "harmless": 0}
    for place, flipped in flips(whole, number, seed=len(whole)):
        path.write_bytes(flipped)
        caplog.clear()
        try:
            found = read()
        except LatticeFlowsError as error:
            assert "\n" not in str(error), f"byte {place}"
            outcome["refused"] += 1
            continue
        if caplog.records:
            outcome["told"] += 1
        else:
            assert found == expected, f"byte {place}: changed, and nobody was told"
            outcome["harmless"] += 1
    path.write_bytes(whole)
    assert read() == expected
    return outcome


def numbers(request: pytest.FixtureRequest) -> int:
    return request.param


COUNTS = [30, pytest.param(1000, marks=pytest.mark.thorough)]


@pytest.mark.parametrize("number", COUNTS)
@pytest.mark.parametrize("kind", WRITERS)
def test_no_flip_in_a_netcdf_file_is_silent(kind, number, tmp_path, caplog):
    path = tmp_path / "a.nc"
    WRITERS[kind](path)
    outcome = check(path, lambda: dataset_content(path), number, caplog)
    assert outcome["refused"] == number  # a file that is not as it was written is never read


@pytest.fixture
def run(tmp_path) -> Run:
    config = Config(theory="phi4", shape=(4,), couplings={"m": 0.5})
    made = Run.create(tmp_path / "run", config, start=START)
    for step in range(20, 420, 20):
        made.append({"step": step, "loss": 1 / step, "ess": 0.5})
    made.save(STATE)
    made.finish()
    return made


READERS: dict[str, Callable[[Run], Any]] = {
    "config.json": lambda run: Run.open(run.path).config,
    "start.npz": lambda run: {
        k: np.asarray(v).tolist() for k, v in run.start(START)["field"].items()
    },
    "checkpoint.npz": lambda run: {k: np.asarray(v).tolist() for k, v in run.load(STATE).items()},
    "history.jsonl": lambda run: run.history(),
    "finished.json": lambda run: run.finished,
    "provenance.json": lambda run: run.provenance(),
}


@pytest.mark.parametrize("number", COUNTS)
@pytest.mark.parametrize("name", READERS)
def test_no_flip_in_a_file_of_a_run_is_silent(name, number, run, caplog):
    outcome = check(run.path / name, lambda: READERS[name](run), number, caplog)
    assert outcome["harmless"] < number / 5, outcome  # white space, at most
    if name in ("history.jsonl", "finished.json", "provenance.json"):
        assert outcome["refused"] == 0  # a sound checkpoint is not lost for them


@pytest.mark.parametrize("name", READERS)
def test_info_tells_which_file_of_a_run_is_damaged(name, run):
    assert describe_path(run.path)["intact"] is True
    file = run.path / name
    whole = file.read_bytes()
    place = whole.index(b"20") if name == "history.jsonl" else len(whole) // 2
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
    try:
        found = describe_path(run.path)
    except LatticeFlowsError as error:  # without a configuration there is nothing to describe
        assert name == "config.json" and name in str(error)
    else:
        assert found["intact"] is False and name in found["damage"][0]
