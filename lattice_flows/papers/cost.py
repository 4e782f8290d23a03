"""What a scan costs: 64 couplings by one flow carried along, by a flow each, by chains.

φ⁴ theory on the cycle graph of 16 sites, m from 0.25 to 1. Every way has to tell χ to 1 % and log Z
to ± 0.005 at all 64, by its own errors, and pays for what it does in CPU seconds, compilation
included. Draws are increased until the errors are small enough; what was drawn before is paid for.

Chains know no log Z. It is integrated from independent sites, whose Z is a product of integrals
over one, by way of the bonds, and on along m:

    d(log Z)/ds = -⟨Σ (φ_x - φ_{x+μ})²⟩_s,      ∂_m log Z = ⟨Σ φ²⟩_m,

s the strength of the bonds: Gauss-Legendre nodes in s, the scan's own points and cubic splines
through them in m.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.interpolate import CubicSpline

from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.figures.style import COLOURS, STYLE
from lattice_flows.flows.params import Params
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.io.netcdf import Dataset, Variable
from lattice_flows.mcmc.hmc import hmc_grid
from lattice_flows.papers.experiment import Experiment, Row, Settings
from lattice_flows.papers.runs import train_afresh
from lattice_flows.runs.config import Config
from observables import Estimate
from theories import Phi4, TransferMatrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_RANGE, _POINTS, _SITES = (0.25, 1.0), 64, 16
_CHI, _LOG_Z = 0.01, 0.005  # the errors asked for, of χ relative to it
_FIRST = 2048  # draws a point to begin with
_SPARE = 1.2  # more draws than the errors so far ask for
_SEPARATE = 4  # flows of their own that are trained, evenly over the range; 64 cost 16 times theirs
_NODES, _CHAINS = 8, 64
STEPS = {"quick": (2000, 3000), "paper": (10_000, 15_000)}
"""Of training a flow, of carrying it along."""


class BondCouplings(NamedTuple):
    """Those of φ⁴ theory, and bond: the strength s of the bonds."""

    m: float = 0.5
    lam: float = 1 / 16
    alpha: float = 0.01
    bond: float = 1.0


@dataclass(frozen=True)
class Bonds(Phi4):
    """φ⁴ theory with bonds of a strength of their own."""

    name: ClassVar[str] = "phi4-bonds"
    Couplings: ClassVar[Any] = BondCouplings

    def stiffness(self, couplings: BondCouplings) -> Any:
        return couplings.bond


class Numbers(NamedTuple):
    """χ and log Z with their errors, each (points,)."""

    chi: Array
    chi_stderr: Array
    log_z: Array
    log_z_stderr: Array

    @property
    def shortfall(self) -> float:
        """By what factor the errors are too large, the worst of them."""
        chi = np.max(self.chi_stderr / np.abs(self.chi)) / _CHI
        return float(max(chi, np.max(self.log_z_stderr) / _LOG_Z))


class Scan(NamedTuple):
    """What a way finds at the points `at` of the grid, and CPU seconds by what they went to."""

    at: list[int]
    numbers: Numbers
    seconds: dict[str, float]


def run(settings: Settings) -> tuple[list[Row], dict[str, Variable]]:
    """Scan in the three ways."""
    theory = Phi4((_SITES,))
    grid = [theory.from_values(m=float(m)) for m in np.linspace(*_RANGE, _POINTS)]
    scans = {name: way(settings, grid) for name, way in WAYS.items()}
    exact = [TransferMatrix(theory, couplings) for couplings in grid]
    rows = []
    for name, scan in scans.items():
        found = scan.numbers
        chi = (found.chi - [exact[i].susceptibility for i in scan.at]) / found.chi_stderr
        log_z = (found.log_z - [exact[i].log_z for i in scan.at]) / found.log_z_stderr
        numbers = {
            **{f"CPU seconds, {what}": spent for what, spent in scan.seconds.items()},
            "CPU seconds, all": sum(scan.seconds.values()),
            "largest error of chi in %": 100 * np.max(found.chi_stderr / found.chi),
            "largest error of log Z": np.max(found.log_z_stderr),
            "largest distance of chi from exact in sigma": np.max(np.abs(chi)),
            "largest distance of log Z from exact in sigma": np.max(np.abs(log_z)),
        }
        rows += [Row(f"{what}, {name}", Estimate(float(x), 0.0)) for what, x in numbers.items()]
    return rows, _variables(scans, grid)


def _carried(settings: Settings, grid: Sequence[Any]) -> Scan:
    """One flow at the lower end, carried along the range by transport."""
    first, second = STEPS[settings.preset]
    source = _alone(settings, _RANGE[0], first)
    line = Config(
        "phi4",
        (_SITES,),
        {"m": _RANGE},
        source=asdict(source),
        objective="transport",
        steps=second,
        batch=512,
        ode_steps=32,
        seed=settings.seed,
    )
    trained, training = train_afresh(settings, source)
    known = Params(base=trained.params, field=None, path=None, constant=None)
    sampler, carrying = train_afresh(settings, line, known)

    def draw(n: int, key: jax.Array) -> Numbers:
        return _told(sampler.draw_grid(grid, key, n))

    numbers, drawing = _until_good(settings, draw)
    seconds = {"training": training, "carrying along": carrying, "drawing": drawing}
    return Scan(list(range(len(grid))), numbers, seconds)


def _separate(settings: Settings, grid: Sequence[Any]) -> Scan:
    """A flow each: a few of them, the time scaled up to all."""
    few = [int(i) for i in np.linspace(0, len(grid) - 1, _SEPARATE).round()]
    steps = STEPS[settings.preset][0]
    trained = [train_afresh(settings, _alone(settings, grid[i].m, steps)) for i in few]

    def draw(n: int, key: jax.Array) -> Numbers:
        keys = jax.random.split(key, len(few))
        each = zip(few, trained, keys, strict=True)
        return _told(sampler.draw(grid[i], k, n) for i, (sampler, _), k in each)

    numbers, drawing = _until_good(settings, draw)
    training = sum(spent for _, spent in trained)
    of_all = len(grid) / len(few)
    return Scan(few, numbers, {"training": of_all * training, "drawing": of_all * drawing})


def _chains(settings: Settings, grid: Sequence[Any]) -> Scan:
    """Hamiltonian Monte Carlo at every point and, for log Z, on the way to the first."""
    theory, bonds = Phi4((_SITES,)), Bonds((_SITES,))
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    start = grid[0]
    way = [BondCouplings(*start, bond=float(0.5 * (1 + s))) for s in nodes]
    ms = np.array([couplings.m for couplings in grid])
    # of integrals from the first point to each, as sums over the values at all of them
    integrals = np.array([CubicSpline(ms, one).antiderivative()(ms) for one in np.eye(len(ms))]).T

    def draw(n: int, key: jax.Array) -> Numbers:
        scan_key, way_key = jax.random.split(key)
        each = -(-n // _CHAINS)
        scan = hmc_grid(theory, grid, scan_key, _CHAINS, each)
        measured = [ensemble.measure().observables["susceptibility"] for ensemble in scan]
        slope = [_mean(e, np.sum(np.asarray(e.configurations) ** 2, axis=1)) for e in scan]
        opened = [
            _mean(ensemble, -np.sum((x - np.roll(x, 1, axis=1)) ** 2, axis=1))
            for ensemble in hmc_grid(bonds, way, way_key, _CHAINS, each)
            for x in [ensemble.configurations]
        ]
        rates, variances = (np.array(x) for x in zip(*slope, strict=True))
        bond_rates, bond_variances = (np.array(x) for x in zip(*opened, strict=True))
        log_z = _independent_sites(start) + 0.5 * weights @ bond_rates + integrals @ rates
        variance = (0.5 * weights) ** 2 @ bond_variances + integrals**2 @ variances
        chi, chi_stderr = np.array([(x.value, x.stderr) for x in measured]).T
        return Numbers(chi, chi_stderr, log_z, np.sqrt(variance))

    numbers, drawing = _until_good(settings, draw)
    return Scan(list(range(len(grid))), numbers, {"chains": drawing})


WAYS: dict[str, Callable[[Settings, Sequence[Any]], Scan]] = {
    "one flow, carried": _carried,
    "a flow each": _separate,
    "chains": _chains,
}


def _alone(settings: Settings, m: float, steps: int) -> Config:
    return Config("phi4", (_SITES,), {"m": m}, steps=steps, seed=settings.seed)


def _told(ensembles: Iterable[Ensemble]) -> Numbers:
    """What weighted draws tell of χ and log Z."""
    rows = []
    for ensemble in ensembles:
        measurement = ensemble.measure()
        assert measurement.log_z is not None
        rows.append([*measurement.observables["susceptibility"], *measurement.log_z])
    return Numbers(*np.array(rows).T)


def _mean(ensemble: Ensemble, values: Array) -> tuple[float, float]:
    """The mean over chains, and its variance from their scatter."""
    each = values.reshape(_CHAINS, -1).mean(axis=1)
    return float(each.mean()), float(each.var(ddof=1) / _CHAINS)


def _independent_sites(couplings: Any) -> float:
    """log Z without bonds."""
    potential = Phi4((_SITES,)).potential
    one, _ = quad(lambda x: np.exp(-potential(x, couplings)), -np.inf, np.inf, epsabs=0)
    return float(_SITES * np.log(one))


def _until_good(
    settings: Settings, draw: Callable[[int, jax.Array], Numbers]
) -> tuple[Numbers, float]:
    """Draw more until all errors are small enough; the numbers, and the CPU seconds of it all."""
    begin, n, key = time.process_time(), _FIRST, jax.random.key(settings.seed)
    while True:
        key, draw_key = jax.random.split(key)
        numbers = draw(n, draw_key)
        if numbers.shortfall <= 1:
            return numbers, time.process_time() - begin
        if settings.interrupted():
            raise Interrupted("the comparison is interrupted: give the same command again")
        n = int(np.ceil(_SPARE * n * numbers.shortfall**2))


def _variables(scans: Mapping[str, Scan], grid: Sequence[Any]) -> dict[str, Variable]:
    """χ and log Z by way and point, NaN where a way has not been; CPU seconds by what for."""
    shape = (len(scans), len(grid))
    columns = {name: np.full(shape, np.nan) for name in Numbers._fields}
    for row, scan in enumerate(scans.values()):
        for name, values in scan.numbers._asdict().items():
            columns[name][row, scan.at] = values
    parts = list(dict.fromkeys(what for scan in scans.values() for what in scan.seconds))
    seconds = [[scan.seconds.get(what, 0.0) for what in parts] for scan in scans.values()]
    titles = {"chi": "susceptibility V (<M^2> - <M>^2)", "log_z": "log Z"}
    titles |= {f"{name}_stderr": f"standard error of {what}" for name, what in titles.items()}
    return {
        "m": Variable(("coupling_point",), np.array([c.m for c in grid]), "coupling m"),
        "way": Variable(("way",), np.array(list(scans)), "way of scanning"),
        "part": Variable(("part",), np.array(parts), "what the time went to"),
        "cpu_seconds": Variable(("way", "part"), np.array(seconds), "CPU seconds"),
        **{
            name: Variable(("way", "coupling_point"), values, titles[name])
            for name, values in columns.items()
        },
    }


def draw(dataset: Dataset) -> "Figure":
    """CPU seconds of the three ways, by what they went to."""
    import matplotlib
    from matplotlib.figure import Figure

    ways, seconds = list(dataset["way"]), dataset["cpu_seconds"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 2.2), layout="constrained")
        ax = figure.subplots()
        left = np.zeros(len(ways))
        for k, part in enumerate(dataset["part"]):
            ax.barh(ways, seconds[:, k], left=left, color=COLOURS[k], label=part)
            left = left + seconds[:, k]
        ax.invert_yaxis()
        ax.set(xlabel="CPU seconds", xlim=(0, None))
        figure.legend(loc="outside right center")
    return figure


EXPERIMENT = Experiment(
    name="cost",
    title="what 64 couplings of phi4 theory on the cycle graph cost, chi to 1 %, log Z to 0.005",
    references="none: the table is our own",
    run=run,
    draw=draw,
    trains=True,
)
