"""Observables of one's own, measured, averaged, written, scanned and drawn as the others are."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray
from command_line import SINGLE_WELL, call, refused

from lattice_flows.ensembles.combine import pool
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.results_file import save_measurement
from lattice_flows.figures.plots import plot_file
from lattice_flows.figures.scan import plot_scan
from lattice_flows.figures.style import estimated, label
from lattice_flows.io.netcdf import read_dataset
from observables import Observable, exact_answers, magnetization
from observables.orbit import actions
from theories import LatticeFlowsError, ManyWell, Phi4

SITES = 4
FALSE_ALARM_SIGMAS = 4.5  # of one estimate: 7e-6
MINE = r"""
import numpy as np
from observables import Observable

sixth = Observable(
    "phi6",
    lambda phi: np.mean(phi**6, axis=1),
    symbol=r"\langle\phi^6\rangle",
    long_name="mean of phi^6 over the sites",
    exact=lambda exact: exact.moment(6),
)
plain = Observable("phi6_plain", sixth.measure)
no_observable = 1
"""
SIXTH = Observable(
    "phi6",
    lambda phi: np.mean(phi**6, axis=1),
    symbol=r"\langle\phi^6\rangle",
    exact=lambda exact: exact.moment(6),
)
# the Binder cumulant again, by another way
BINDER = Observable(
    "my_binder",
    lambda phi: np.stack([magnetization(phi) ** 2, magnetization(phi) ** 4], axis=1),
    value=lambda averages: 1 - averages[..., 1] / (3 * averages[..., 0] ** 2),
)
# odd in phi
BOND = Observable("odd", lambda phi: phi[:, 0] ** 2 * phi[:, 1])


@pytest.fixture(scope="module")
def theory():
    return Phi4((SITES,))


def exact_draws(theory, n=4000, weighted=True, **couplings):
    """Exact draws at some couplings, weighted to m = 0.5 and alpha = 0.05."""
    target = theory.from_values(m=0.5, alpha=0.05)
    drawn = theory.from_values(**{"m": 0.4, "alpha": 0.05, **couplings})
    exact = theory.exact(drawn)
    phi = exact.sample(np.random.default_rng(7), n)
    if not weighted:
        return Ensemble(theory, drawn, phi)
    s, s_drawn = (actions(theory, couplings, phi) for couplings in (target, drawn))
    return Ensemble(theory, target, phi, s_drawn - s + exact.log_z)


def test_it_has_the_exact_value(theory):
    for ensemble in (exact_draws(theory), exact_draws(theory, weighted=False)):
        found = ensemble.measure([SIXTH]).observables["phi6"]
        answer = exact_answers(theory, ensemble.couplings, [SIXTH])["phi6"]
        assert answer == theory.exact(ensemble.couplings).moment(6)
        assert 0 < found.stderr < 0.1 * answer
        assert abs(found.value - answer) < FALSE_ALARM_SIGMAS * found.stderr


@pytest.mark.parametrize("chains", [None, 8])
def test_it_is_measured_as_one_of_the_theory_is(theory, chains):
    ensemble = exact_draws(theory, weighted=chains is None)
    if chains:
        ensemble = Ensemble(theory, ensemble.couplings, ensemble.configurations, chains=chains)
    plain, mine = ensemble.measure(), ensemble.measure([BINDER, SIXTH])
    assert list(mine.observables) == [*plain.observables, "my_binder", "phi6"]
    for name, value in plain.observables.items():
        assert mine.observables[name] == value
    for kind in ("value", "stderr"):
        theirs, ours = (
            getattr(mine.observables[name], kind) for name in ("binder_cumulant", "my_binder")
        )
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_it_is_averaged_over_the_orbit(theory):
    """By hand: O(φ) and O(-φ) with the probabilities of the two signs."""
    ensemble = exact_draws(theory)
    phi, couplings = ensemble.configurations, ensemble.couplings
    odd = phi[:, 0] ** 2 * phi[:, 1]
    s, s_minus = (
        np.array([theory.potential(x, couplings).sum() for x in sign * phi]) for sign in (1, -1)
    )
    w = np.exp(ensemble.log_weights - ensemble.log_weights.max())
    averaged = odd * np.tanh((s_minus - s) / 2)  # the bonds are even
    expected = (w * averaged).sum() / w.sum()
    found = ensemble.measure([BOND]).observables["odd"]
    assert found.value == pytest.approx(expected, rel=1e-2)  # the jackknife takes a bias away
    plain = Ensemble(theory, couplings, phi, ensemble.log_weights, orbit=False)
    assert plain.measure([BOND]).observables["odd"].stderr > 1.5 * found.stderr


def same(found, expected):
    """But for rounding."""
    return list(found) == pytest.approx(list(expected), rel=1e-12)


def test_averages_of_a_function(theory):
    ensemble = exact_draws(theory)
    measured = ensemble.measure([SIXTH]).observables
    one = ensemble.average(lambda phi: np.mean(phi**6, axis=1))
    assert same(one, measured["phi6"])
    two = ensemble.average(lambda phi: np.stack([phi[:, 0], np.mean(phi**2, axis=1)], axis=1))
    assert len(two) == 2 and same(two[1], measured["phi2"])
    chains = Ensemble(theory, ensemble.couplings, ensemble.configurations, chains=4)
    found = chains.average(lambda phi: np.mean(phi**2, axis=1))
    expected = chains.measure().observables["phi2"]
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.stderr == pytest.approx(expected.stderr, rel=0.05)  # its window is its own


def test_derivatives_are_those_of_the_exact_value(theory):
    ensemble = exact_draws(theory, n=20_000, weighted=False)
    slopes = ensemble.derivatives(["m"], [SIXTH, BINDER])
    step = 1e-4
    ends = [theory.exact(ensemble.couplings._replace(m=0.4 + s)).moment(6) for s in (step, -step)]
    expected = (ends[0] - ends[1]) / (2 * step)
    found = slopes["d_phi6_d_m"]
    assert abs(found.value - expected) < FALSE_ALARM_SIGMAS * found.stderr
    assert found.stderr < 0.2 * expected
    assert slopes["d_my_binder_d_m"].value == pytest.approx(slopes["d_binder_cumulant_d_m"].value)
    absolute = Observable("size", lambda phi: phi[:, 0], value=lambda a: np.abs(a[..., 0]))
    with pytest.raises(LatticeFlowsError, match="size is not analytic"):
        ensemble.derivatives(["m"], [absolute])


def test_all_draws_together(theory):
    ensembles = [exact_draws(theory, n=500), exact_draws(theory, n=500, m=0.6)]
    together = pool(ensembles).at(ensembles[0].couplings)
    found = together.measure([BINDER]).observables
    assert found["my_binder"].value == pytest.approx(found["binder_cumulant"].value, rel=1e-9)


def test_off_the_lattice():
    """An even number of components of many-well at m = 0: every one has the same second moment."""
    theory = ManyWell((2,))
    couplings = theory.from_values()
    phi = theory.exact(couplings).sample(np.random.default_rng(3), 1000)
    square = Observable("square", lambda x: np.mean(x**2, axis=1))
    found = Ensemble(theory, couplings, phi).measure([square]).observables
    assert found["square"] == found["second_moment"]


def test_the_file_and_the_figure_have_it(theory, tmp_path):
    ensemble = exact_draws(theory)
    measured = ensemble.measure([SIXTH])
    save_measurement(tmp_path / "o.nc", ensemble, measured, [SIXTH])
    with xarray.open_dataset(tmp_path / "o.nc") as dataset:
        assert (dataset.phi6, dataset.phi6_stderr) == measured.observables["phi6"]
        assert dataset.phi6.attrs["symbol"] == SIXTH.symbol
    dataset = read_dataset(tmp_path / "o.nc")
    assert estimated(dataset)[-1] == "phi6" and label("phi6", dataset) == f"${SIXTH.symbol}$"
    figure = plot_file(tmp_path / "o.nc")
    assert f"${SIXTH.symbol}$" in [t.get_text() for t in figure.axes[0].get_yticklabels()]


@pytest.mark.usefixtures("in_an_empty_directory")
def test_commands_take_it(theory, chain):
    Path("mine.py").write_text(MINE)
    named = ("--observable", "mine.py:sixth")
    scan = ("scan", chain.path, "--m", "-1.2:-0.8:3", "-n", 512, "-o", "scan.nc", "--derivatives")
    done = call(*scan, *named)
    assert done.exit_code in (0, 3), done.stderr
    with xarray.open_dataset("scan.nc") as dataset:
        for m, exact in zip(dataset.m, dataset.phi6_exact, strict=True):
            couplings = theory.from_values(m=float(m), **SINGLE_WELL)
            assert float(exact) == pytest.approx(theory.exact(couplings).moment(6), rel=1e-9)
        pull = (dataset.phi6 - dataset.phi6_exact) / dataset.phi6_stderr
        assert np.all(np.abs(pull) < 6) and "d_phi6_d_m" in dataset
        assert dataset.phi6.attrs["long_name"] == "mean of phi^6 over the sites"
    # --resume knows the code that it was made by
    assert call(*scan, *named, "--resume").stderr.endswith("scan.nc is finished\n")
    again = [sys.executable, "-m", "lattice_flows.scripts.cli", *map(str, (*scan, *named))]
    Path("mine.py").write_text(MINE.replace("phi**6", "phi**8"))
    other = subprocess.run([*again, "--resume"], capture_output=True, text=True)
    assert other.returncode == 1
    assert other.stderr.endswith(
        "Error: scan.nc was begun by another command (code differs): "
        "give another name, or begin anew with --overwrite\n"
    )
    figure = plot_scan(read_dataset("scan.nc"))
    panel = next(ax for ax in figure.axes if ax.get_ylabel() == r"$\langle\phi^6\rangle$")
    assert panel.containers and panel.lines
    call("sample", chain.path, "--m", -1, "-n", 256, "-o", "e.nc")
    evaluate = ("evaluate", chain.path, "--m", -1, "-n", 256)
    for command in (("measure", "e.nc", "-o", "o.nc"), evaluate, ("measure", "e.nc")):
        said = call(*command, *named)
        assert said.exit_code in (0, 3) and "phi6" in said.stdout, said.stderr
    exact = ("exact", "phi4", "--sites", SITES, "--m", 0.5, "--observable")
    told = json.loads(call(*exact, "mine.py:sixth", "--json").stdout)["observables"]["phi6"]
    sixth = theory.exact(theory.from_values(m=0.5)).moment(6)
    assert told == {"value": pytest.approx(sixth, rel=1e-12), "stderr": 0}
    assert "phi6_plain has no exact value" in refused(*exact, "mine.py:plain")
    mine = ("measure", "e.nc", "--observable")
    assert "no Observable" in refused(*mine, "mine.py:no_observable", code=2)
    assert "has no other" in refused(*mine, "mine.py:other", code=2)


@pytest.mark.parametrize(
    ("observable", "words"),
    [
        (lambda: Observable("Phi 6", np.mean), "small letters"),
        (lambda: Observable("ess", np.mean), "rename it"),
        (lambda: Observable("phi2_stderr", np.mean), "rename it"),
        (lambda: Observable("d_phi2_d_m", np.mean), "rename it"),
        (lambda: Observable("phi2", lambda phi: phi[:, 0]), "phi2 already"),
        (lambda: Observable("m", lambda phi: phi[:, 0]), "m already"),
        (lambda: Observable("one", lambda phi: 1.0), "a number, or a row of numbers"),
        (lambda: Observable("one", lambda phi: phi.nothing), "AttributeError"),
        (lambda: Observable("one", lambda phi: phi[:, 0] * np.nan), "not finite"),
        (lambda: Observable("one", lambda phi: phi, value=lambda a: a), "the last axis alone"),
        (lambda: Observable("one", lambda phi: phi, value=lambda a: 1 / 0), "ZeroDivisionError"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(theory, observable, words):
    with pytest.raises(LatticeFlowsError, match=words) as caught:
        exact_draws(theory, n=50).measure([observable()])
    assert "\n" not in str(caught.value)
