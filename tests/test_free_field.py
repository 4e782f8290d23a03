"""The closed form of the free field, against the transfer matrix and dense linear algebra."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from command_line import call, refused
from helpers import free_answers
from scipy import stats

import observables
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.flows.model import build
from lattice_flows.io import checkpoint
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from lattice_flows.scripts.cli import main
from theories import FreeField, LatticeFlowsError, TransferMatrix

SHAPES = [(7,), (3, 4), (4, 4), (2, 3, 4), (2, 2, 2, 3)]


def covariance(theory: FreeField, mass_squared: float) -> np.ndarray:
    """⟨φ_x φ_y⟩ by inverting the matrix of the action, made bond by bond."""
    sites = list(np.ndindex(*theory.shape))
    index = {site: i for i, site in enumerate(sites)}
    matrix = mass_squared * np.eye(len(sites))
    for site in sites:
        for axis, length in enumerate(theory.shape):
            moved = list(site)
            moved[axis] = (moved[axis] + 1) % length
            i, j = index[site], index[tuple(moved)]
            matrix[i, i] += 1
            matrix[j, j] += 1
            matrix[i, j] -= 1
            matrix[j, i] -= 1
    return np.linalg.inv(2 * matrix)


@pytest.mark.parametrize("mass_squared", [0.05, 0.4, 3.0])
@pytest.mark.parametrize("length", [3, 8])
def test_on_a_chain_it_is_what_the_transfer_matrix_says(length, mass_squared):
    theory = FreeField((length,))
    couplings = theory.from_values(mass_squared=mass_squared)
    ours, theirs = theory.exact(couplings).observables(), TransferMatrix(theory, couplings)
    known = theirs.observables()
    assert ours.keys() == {name for name in known if not name.endswith("_bound")}
    for name, value in ours.items():
        if np.all(np.isnan(known[name])):  # lost in rounding errors there
            assert abs(value) <= known[f"{name}_bound"]
        else:
            np.testing.assert_allclose(value, known[name], rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_on_a_torus_it_is_the_gaussian_of_its_action(shape):
    theory = FreeField(shape)
    exact = theory.exact(theory.from_values(mass_squared=0.37))
    answers, matrix = exact.observables(), covariance(theory, 0.37)
    variance = matrix.sum() / theory.sites**2  # of M
    assert answers["log_z"] == pytest.approx(
        0.5 * np.linalg.slogdet(2 * np.pi * matrix)[1], rel=1e-12
    )
    assert answers["susceptibility"] == pytest.approx(theory.sites * variance, rel=1e-12)
    assert answers["abs_magnetization"] == pytest.approx(
        stats.halfnorm(scale=np.sqrt(variance)).mean(), rel=1e-12
    )
    assert answers["phi2"] == pytest.approx(matrix[0, 0], rel=1e-12)
    for name, value in free_answers(theory, 0.37).items():
        assert answers[name] == pytest.approx(value, rel=1e-12), name
    slices = matrix.reshape(shape[0], theory.sites // shape[0], shape[0], -1).mean(axis=(1, 3))
    np.testing.assert_allclose(answers["correlator"], slices[0], rtol=1e-12)
    # of L → ∞ slices: C(r) ∝ e^{-Er}
    long = FreeField((400, *shape[1:]))
    c = long.exact(long.from_values(mass_squared=0.37)).correlator()
    assert np.log(c[10] / c[11]) == pytest.approx(answers["energy_gap"], rel=1e-12)
    assert answers["correlation_length"] * answers["energy_gap"] == pytest.approx(1)


@pytest.mark.parametrize("shape", [(5,), (3, 4)], ids=str)
def test_its_draws_are_independent_and_exact(shape):
    """Whitened by the Cholesky factor of the dense matrix they are normal: 1e-3 false alarms."""
    theory = FreeField(shape)
    exact = theory.exact(theory.from_values(mass_squared=0.3))
    draws = exact.sample(np.random.default_rng(7), 4000).reshape(4000, -1)
    white = np.linalg.solve(np.linalg.cholesky(covariance(theory, 0.3)), draws.T)
    assert stats.kstest(white.ravel(), "norm").pvalue > 5e-4
    assert stats.chi2(4000 * theory.sites).sf(np.sum(white**2)) > 2.5e-4
    np.testing.assert_allclose(np.corrcoef(white), np.eye(theory.sites), atol=5 / np.sqrt(4000))


def test_an_ensemble_knows_the_exact_correlator():
    theory = FreeField((6, 4))
    couplings = theory.from_values(mass_squared=0.5)
    draws = theory.exact(couplings).sample(np.random.default_rng(3), 8000)
    ensemble = Ensemble(theory, couplings, draws)
    exact = ensemble.exact_correlator()
    assert exact is not None
    found, (known, gap) = ensemble.correlator(), exact
    assert np.all(np.abs(found.value - known.value) < 4.5 * found.stderr)
    np.testing.assert_allclose(known.gap, gap, rtol=1e-10)  # one pole alone


def test_a_correlator_below_rounding_errors_has_its_gap(tmp_path):
    """C(32) of 64 sites is e^{-56} of C(0); of draws that are far from it the table is complete."""
    theory = FreeField((64,))
    couplings = theory.from_values(mass_squared=4.0)
    exact = theory.exact(couplings)
    gap = 2 * np.arcsinh(1.0)
    known = observables.exact_correlator(exact)
    np.testing.assert_allclose(known.gap, gap, rtol=1e-12)
    assert known.value[32] == pytest.approx(2 * known.value[0] * np.exp(-32 * gap), rel=1e-9)
    Ensemble(theory, couplings, exact.sample(np.random.default_rng(0), 200)).save(
        tmp_path / "draws.nc"
    )
    found = json.loads(call("correlator", tmp_path / "draws.nc", "--json").stdout)
    np.testing.assert_allclose(found["exact"]["gap"][1:], gap, rtol=1e-12)


@pytest.mark.parametrize("value", [1e-320, 1e300])
def test_what_double_precision_does_not_hold_is_refused(value):
    theory = FreeField((2, 2))
    with pytest.raises(LatticeFlowsError, match="beyond double precision"):
        theory.exact(theory.from_values(mass_squared=value))


def test_the_command_knows_it_in_every_dimension():
    for flag in ("--mass-squared", "--mass_squared"):
        answer = json.loads(
            call("exact", "free-field", "--shape", "8x8", flag, 0.3, "--json").stdout
        )
        assert answer["couplings"] == {"mass_squared": 0.3}
        theory = FreeField((8, 8))
        for name, value in free_answers(theory, 0.3).items():
            found = answer["log_z"] if name == "log_z" else answer["observables"][name]
            assert found == {"value": pytest.approx(value, rel=1e-12), "stderr": 0.0}, name
    assert "greater than 0" in refused(
        "exact", "free-field", "--shape", "8x8", "--mass-squared", -1
    )


def test_evaluate_and_scan_stand_beside_exact_answers_in_two_dimensions(tmp_path):
    """Of a flow that is not trained: what it finds is flagged, what is exact is beside it."""
    run = Run.create(
        tmp_path / "run",
        Config(
            theory="free-field",
            shape=(2, 3),
            couplings={"mass_squared": (0.3, 0.6)},
            width=4,
            ode_steps=2,
        ),
    )
    params = build(run.config).init(jax.random.key(0))
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    checkpoint.save(run.path / "checkpoint.npz", {"params": single})
    run.finish()
    said = refused("evaluate", run.path)
    assert "e.g. --mass-squared 0.3" in said
    file = tmp_path / "s.nc"
    done = call(
        *("scan", run.path, "--mass-squared", "0.3,0.6", "-n", 256),
        *("-o", file, "--plot", tmp_path / "s.png"),
    )
    assert done.exit_code == 3, done.output
    assert done.stderr.startswith("free-field  2x3 sites  mass_squared 0.3:0.6:2\n")
    with xarray.open_dataset(file) as scan:
        for i, mass_squared in enumerate((0.3, 0.6)):
            for name, value in free_answers(FreeField((2, 3)), mass_squared).items():
                assert float(scan[f"{name}_exact"][i]) == pytest.approx(value, rel=1e-12), name
    assert (tmp_path / "s.png").stat().st_size > 5000


FREE = ["free-field", "--sites", "4"]


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("exact", FREE),
        ("hmc", [*FREE, "-o", "e.nc"]),
        ("train", ["run", "--theory", *FREE]),
        ("transfer", ["run", "new"]),
        ("evaluate", ["run"]),
        ("sample", ["run", "-o", "e.nc"]),
        ("scan", ["run"]),
    ],
)
def test_every_command_takes_a_coupling_with_either_dash(command, args):
    def parsed(flag):
        return main.commands[command].make_context(command, [*args, flag, "0.25:1:4"]).params

    new = parsed("--mass-squared")
    assert new == parsed("--mass_squared")
    assert new["coupling_mass_squared"].values == pytest.approx((0.25, 0.5, 0.75, 1.0))


@pytest.mark.parametrize("flag", ["--mass-squared", "--mass_squared"])
@pytest.mark.parametrize(("lattice", "shape"), [("--sites=6", (6,)), ("--shape=2x3", (2, 3))])
def test_exact_answers_over_a_range(lattice, shape, flag):
    done = call("exact", "free-field", lattice, flag, "0.25:1:3", "--json")
    points = json.loads(done.stdout)["points"]
    for mass_squared, point in zip((0.25, 0.625, 1), points, strict=True):
        assert point["couplings"] == {"mass_squared": mass_squared}
        answers = free_answers(FreeField(shape), mass_squared)
        assert point["log_z"]["value"] == pytest.approx(answers.pop("log_z"), rel=1e-12)
        for name, value in answers.items():
            assert point["observables"][name]["value"] == pytest.approx(value, rel=1e-12), name


def test_the_magnetization_is_normal():
    theory = FreeField((4, 6))
    exact = theory.exact(theory.from_values(mass_squared=0.3))
    m, density = exact.magnetization_distribution()
    known = stats.norm.pdf(m, scale=covariance(theory, 0.3).mean() ** 0.5)
    np.testing.assert_allclose(density, known, rtol=1e-9)
