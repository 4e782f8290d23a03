"""A theory, or a part of a flow, in a file of one's own does what those of this package do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray
from command_line import call, refused

import theories
from lattice_flows.api import train
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.io.netcdf import read_dataset
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from theories import LatticeFlowsError, LatticeTheory, Theory, outside

EXAMPLE = Path(__file__).parents[1] / "examples" / "anharmonic.py"
NAMED, HOME = f"{EXAMPLE}:Anharmonic", "anharmonic.py:Anharmonic"
SMALL = {"steps": 2, "batch": 32, "width": 4, "ode_steps": 4}
SMALL |= {"field": "convolutional", "base": "ultralocal"}  # compiled soonest
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]

pytestmark = pytest.mark.usefixtures("in_an_empty_directory")


@pytest.fixture(autouse=True)
def standard_promotion():
    """optax needs it."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def anharmonic():
    return theories.load(NAMED, Theory)


@pytest.fixture
def forgotten():
    """Nothing of one's own is known when the test begins, as in a new process."""
    held = {name: sys.modules.pop(name) for name in ("anharmonic", "mine") if name in sys.modules}
    known = theories.known
    theories.known = lambda: {n: t for n, t in known().items() if n != "anharmonic"}
    yield
    theories.known = known
    sys.modules.update(held)


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) <= 40


def test_exact_answers_of_a_theory_of_ones_own(anharmonic):
    """Two sites by two-dimensional quadrature."""
    couplings = anharmonic.Couplings(a=-1.0, g=0.05)
    x = np.linspace(-5, 5, 801)
    potential = -(x**2) + 0.05 * x**6
    action = 2 * (x[:, None] - x) ** 2 + potential[:, None] + potential
    density = np.exp(-action)
    exact = anharmonic((2,)).exact(couplings)
    assert exact.log_z == pytest.approx(np.log(density.sum() * (x[1] - x[0]) ** 2), abs=1e-10)
    second = (density * (x[:, None] ** 2 + x**2) / 2).sum() / density.sum()
    assert exact.observables()["phi2"] == pytest.approx(second, rel=1e-9)


def test_commands_take_it_from_the_file():
    flags = ("--theory", NAMED, "--sites", 4, "--g=.02:.1", "--a", 1, *FLAGS)
    trained = call("train", "run", *flags)
    assert trained.exit_code == 0, trained.stderr
    assert json.loads(Path("run/config.json").read_text())["theory_from"] == HOME
    scanned = call(
        "scan", "run", "--g", "0.02:0.1:4", "-n", 256, "-o", "scan.nc", "--plot", "s.png"
    )
    assert scanned.exit_code in (0, 3), scanned.stderr
    with xarray.open_dataset("scan.nc") as dataset:
        assert set(dataset.coords) == {"a", "g"} and "magnetization_exact" in dataset
        assert json.loads(dataset.lf_config)["theory_from"] == HOME
    for command in ("evaluate run --g .05 -n 256", "sample run --g .05 -n 256 -o e.nc"):
        done = call(*command.split())
        assert done.exit_code in (0, 3) and "anharmonic  4 sites" in done.stderr + done.stdout
    assert call("measure", "e.nc").exit_code in (0, 3)
    assert call("hmc", NAMED, "--sites", 4, "-n", 256, "-o", "h.nc").exit_code in (0, 3)
    assert call("info", "e.nc").exit_code == 0
    couplings = call("train", "--theory", NAMED, "--help").stdout.partition("Couplings:")[2]
    assert "--g VALUES" in couplings and "--kappa" not in couplings


def test_a_figure_is_drawn_against_its_coupling(anharmonic):
    from matplotlib.figure import Figure

    from lattice_flows.figures.scan import plot_scan

    call("exact", NAMED, "--sites", 4, "--g", "0.02:0.1:4", "-o", "exact.nc")
    dataset = read_dataset("exact.nc")
    assert [str(n) for n in dataset.json("lf_config")["couplings"][0]] == ["a", "g"]
    call("train", "run", "--theory", NAMED, "--sites", 4, "--g=.02:.1", *FLAGS)
    call("scan", "run", "--g", "0.02:0.1:4", "-n", 256, "-o", "scan.nc")
    figure = plot_scan(read_dataset("scan.nc"))
    assert isinstance(figure, Figure)
    assert figure.axes[-1].get_xlabel() == "$g$"
    low, high = figure.axes[0].get_xlim()
    assert low < 0.02 < 0.1 < high
    assert call("plot", "scan.nc", "-o", "scan.png").exit_code == 0


def test_python_trains_on_an_object_and_draws(anharmonic):
    theory = anharmonic((4,))
    sampler = train(theory, {"g": 0.05}, "run", **SMALL)
    assert sampler.theory == theory
    ensemble = sampler.draw(theory.from_values(g=0.05), jax.random.key(0), 64)
    ensemble.save("e.nc")
    assert Ensemble.load("e.nc").theory == theory
    again = train(theory, {"g": 0.05}, "run", resume=True, **SMALL)
    assert again.config == sampler.config


@pytest.mark.usefixtures("forgotten")
def test_what_is_not_loaded_is_asked_for_in_a_line():
    _saved_by_another_process()
    line = refused("sample", "run", "-o", "e.nc")
    assert "--theory anharmonic.py:Anharmonic" in line and "not loaded" in line
    # a coupling that is unknown without the theory
    line = refused("scan", "run", "--g", "0.02:0.1:3")
    assert "not loaded: give --theory anharmonic.py:Anharmonic" in line
    line = refused("measure", "e0.nc")
    assert "--theory anharmonic.py:Anharmonic" in line


def _saved_by_another_process() -> None:
    code = f"""
import numpy as np
import theories
from lattice_flows.runs.config import Config
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.runs.run import Run
theory = theories.load({NAMED!r}, theories.Theory)((4,))
Run.create("run", Config(theory.name, theory.shape))
couplings = theory.from_values()
phi = theory.exact(couplings).sample(np.random.default_rng(0), 64)
Ensemble(theory, couplings, phi).save("e0.nc")
"""
    here = {**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1])}
    subprocess.run([sys.executable, "-c", code], env=here, check=True)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import nonsense_of_mine", "ModuleNotFoundError"),
        ("x = 1 /", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero, mine.py line 1"),
        ("class Mine: pass", "not a subclass of Theory"),
        ("", "has no Mine"),
        (
            "from theories import LatticeTheory\nclass Mine(LatticeTheory): name = 'mine'",
            "lacks leading, potential",
        ),
        (
            "from theories import Phi4\nclass Mine(Phi4): pass",
            "Mine needs a name",
        ),
        (
            "from theories import Phi4\nclass Mine(Phi4): name = 'phi4'",
            "the name phi4 of another theory",
        ),
    ],
)
@pytest.mark.usefixtures("forgotten")
def test_a_file_that_does_not_do_is_refused_in_a_line(text, line):
    Path("mine.py").write_text(text)
    said = refused("exact", "mine.py:Mine", "--sites", 4, code=2)
    assert line in said
    sys.modules.pop("mine", None)


def test_a_missing_file_and_a_taken_name_are_refused():
    assert "there is no file other.py" in refused("exact", "other.py:A", "--sites", 4, code=2)
    Path("json.py").write_text("")
    assert "rename the file" in refused("exact", "json.py:A", "--sites", 4, code=2)


PARTS = '''
from dataclasses import dataclass

import jax.numpy as jnp

from lattice_flows.flows.base.ultralocal import GeneralisedGaussian
from lattice_flows.flows.fields.field import Field
from lattice_flows.training.objectives.reverse_kl import ReverseKL
from lattice_flows.flows.paths.path import Path


def still(theory, ranges, width, scale):
    """A field that moves nothing but the scale."""
    def apply(params, t, phi, couplings):
        return params * phi, params * phi.size
    return Field(lambda key: jnp.zeros(()), apply, odd=True)


def wide(theory, ranges):
    return GeneralisedGaussian(theory, 2.0, 1.5)


class Squared(Path):
    def energy(self, params, t, phi, couplings):
        first, last = self.ends(params, phi, couplings)
        return (1 - t**2) * first + t**2 * last


def path(base, even, ranges, width):
    return Squared(base, even)


@dataclass(frozen=True)
class Loss(ReverseKL):
    """An objective of one's own."""
'''


def test_parts_of_ones_own():
    Path("parts_of_mine.py").write_text(PARTS)
    mine = {
        name: f"parts_of_mine.py:{part}"
        for name, part in (("field", "still"), ("base", "wide"), ("interpolation", "path"))
    }
    flags = [f"--{name}={named}" for name, named in mine.items()]
    sizes = ("--steps=2", "--batch=32", "--ode-steps=4")
    done = call("train", "run", "--theory", "phi4", "--sites", 4, "--m=-1", *sizes, *flags)
    assert done.exit_code == 0, done.stderr
    config = Run.open("run").config
    assert (config.field, config.base, config.interpolation) == tuple(mine.values())
    assert call("sample", "run", "-n", 64, "-o", "e.nc").exit_code in (0, 3)

    import parts_of_mine

    sampler = train(theories.Phi4((4,)), {"m": -1.0}, objective=parts_of_mine.Loss, **SMALL)
    assert sampler.config.objective == "parts_of_mine.py:Loss"
    del sys.modules["parts_of_mine"]
    with pytest.raises(
        LatticeFlowsError, match=r"parts_of_mine.py:still is .* not loaded: import it"
    ):
        Run.open("run")
    asked = refused("sample", "run", "-n", 64, "-o", "f.nc")
    assert "not loaded: give --load parts_of_mine.py:still" in asked
    done = call("sample", "run", "-n", 64, "-o", "f.nc", "--load", "parts_of_mine.py:still")
    assert done.exit_code in (0, 3), done.stderr


def test_a_class_that_is_defined_anew_is_the_one_that_acts():
    """As in a notebook, whose cell is run again."""
    from lattice_flows.flows.model import build

    built = []
    for factor in (1.0, 2.0):

        class Again(LatticeTheory):
            name = "again"
            Couplings = theories.Phi4Couplings
            strength_of_mine = factor

            def potential(self, x, couplings):
                return self.strength_of_mine * x**4

            def leading(self, couplings):
                return 4, self.strength_of_mine

        config = Config("again", (4,))
        built.append(type(build(config).flow.base.theory).strength_of_mine)
    assert built == [1.0, 2.0]
    assert outside.home(Again).endswith("Again")
