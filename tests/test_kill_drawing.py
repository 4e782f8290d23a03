"""Killed or asked to stop at any moment, what draws and is resumed ends in the same file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import SINGLE_WELL, small_run

# Parts are saved after every block, and blocks are small, so that kills fall between many of them.
PROGRAM = """
import lattice_flows.ensembles.blocks, lattice_flows.mcmc.hmc
lattice_flows.ensembles.blocks._SECONDS = 0
lattice_flows.mcmc.hmc._SECONDS = 0.01
from lattice_flows.scripts.cli import main
main()
"""
COMMANDS = {
    "sample": "sample RUN --m -1 -n 40000",
    "scan": "scan RUN --m -1.2:-0.8:4 -n 3000 --combine",
    "hmc": "hmc phi4 --sites 4 --m 0.5 -n 6000 --chains 8",
}
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A shared cache of compiled programs, and one date for all files."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "SOURCE_DATE_EPOCH": "1700000000",
    }
    return {**os.environ, **cache}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    couplings = {"m": (-1.2, -0.8), **SINGLE_WELL}
    return small_run(path, 0.05, shape=(4,), couplings=couplings).path


class Drawing:
    """A command that is started in a folder, again and again."""

    def __init__(self, name: str, folder: Path, run: Path, environment: dict[str, str]):
        arguments = COMMANDS[name].replace("RUN", str(run)).split()
        self.command = [sys.executable, "-c", PROGRAM, *arguments, "-o", "out.nc", "--resume"]
        self.folder, self.environment = folder, environment
        folder.mkdir(parents=True)

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> tuple[bytes, float]:
        """The file in the end, and the seconds that it took; nothing else is left."""
        begin = time.monotonic()
        process = self.start()
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        left = [name for name in os.listdir(self.folder) if not name.endswith(".part.nc")]
        assert left == ["out.nc"]  # but for what a kill cut short, which is swept up in an hour
        return (self.folder / "out.nc").read_bytes(), time.monotonic() - begin

    def stop(self, number: signal.Signals, delay: float) -> bool:
        """Whether a signal after some time stopped it, as it should."""
        process = self.start()
        try:
            process.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            _, errors = process.communicate(timeout=120)
            self.check(process.returncode, number, errors)
            return process.returncode != 0
        assert process.returncode == 0
        return False

    def check(self, code: int, number: signal.Signals, errors: str) -> None:
        """75 with the line that says how to go on; while Python itself starts, what it does then.

        No segmentation fault; a signal that comes when all is done comes late.
        """
        assert code in (0, 1, 75, -number), (code, errors)
        if code == 75:
            assert errors.splitlines()[-1].endswith("--resume"), errors
        if code == 1:  # as modules are loaded
            assert number == signal.SIGINT and errors.count("Traceback") <= 1, errors


def kill(name: str, kills: int, folder: Path, run: Path, environment, rng) -> None:
    Drawing(name, folder / "cold", run, environment).finish()
    expected, duration = Drawing(name, folder / "warm", run, environment).finish()
    stopped, finished = 0, 0
    drawing = Drawing(name, folder / "0", run, environment)
    while stopped < kills:
        number = SIGNALS[int(rng.integers(len(SIGNALS)))]
        if drawing.stop(number, duration * rng.uniform(0.05, 0.95)):
            stopped += 1
        else:
            assert drawing.finish()[0] == expected
            finished += 1
            drawing = Drawing(name, folder / str(finished), run, environment)
    assert drawing.finish()[0] == expected


@pytest.mark.parametrize("name", ["scan", "hmc"])
def test_three_kills(name, tmp_path, run, environment, rng):
    kill(name, 3, tmp_path, run, environment, rng)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["sample", "scan", "hmc"])
def test_34_kills(name, tmp_path, run, environment, rng):
    kill(name, 34, tmp_path, run, environment, rng)


MEMORY = """
import resource, subprocess, sys
command = [sys.executable, "-m", "lattice_flows.scripts.cli", *sys.argv[1:]]
done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
assert done.returncode in (0, 3)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_memory_stays_below_one_gibibyte(tmp_path, rng):
    """A million draws of 16 sites measured: at most 1 GiB, and 150 bytes a draw."""
    from lattice_flows.ensembles.ensemble import Ensemble
    from theories import Phi4

    def measured(n: int) -> int:
        theory, file = Phi4((16,)), tmp_path / f"{n}.nc"
        phi, log_w = rng.normal(size=(n, 16)), rng.normal(0, 0.1, n)
        Ensemble(theory, theory.from_values(), phi, log_w).save(file)
        # by a small process: what a process has used up to exec counts for what it runs
        command = [sys.executable, "-c", MEMORY, "measure", str(file)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    few, many = measured(10_000), measured(1_000_000)
    assert many < 2**30 and many - few < 150 * 1_000_000
