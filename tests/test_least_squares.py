"""Training by linear least squares: its parts against independent answers, and the whole of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import double

from lattice_flows.flows.base import Massive
from lattice_flows.flows.fields.linear import basis, features
from lattice_flows.flows.model import build
from lattice_flows.flows.params import Params
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.mcmc.trajectories import walk
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.training.least_squares import path_search, solver
from lattice_flows.training.least_squares.moments import Rows, _moments
from lattice_flows.training.least_squares.solve import solve
from lattice_flows.training.trainer import train
from theories import FreeField, LatticeFlowsError, Phi4, StripSolution, TransferMatrix
from theories.lattice import filter_modes, hartley, laplacian_eigenvalues

COUPLINGS = {"m": (0.5, 1.5), "lam": 1.0, "alpha": 0.0}
POINT = {**COUPLINGS, "m": 0.8}


def config(shape=(2, 3), couplings=COUPLINGS, **more):
    return Config("phi4", shape, couplings, method="least-squares", **more)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
def test_hartley_is_its_own_inverse_and_makes_factors_of_kernels(shape, rng):
    phi = jnp.asarray(rng.normal(size=shape))
    np.testing.assert_allclose(hartley(hartley(phi)), phi, atol=1e-13)
    factors = 1 / (1 + laplacian_eigenvalues(shape))
    np.testing.assert_allclose(
        hartley(factors * hartley(phi)), filter_modes(jnp.asarray(factors), phi), atol=1e-13
    )


def test_the_massive_base_is_a_free_field():
    theory = Phi4((3, 4))
    base = Massive(theory)
    params, couplings = jnp.log(jnp.array([0.3])), double(theory.from_values())
    free = FreeField((3, 4))
    mass = free.from_values(mass_squared=0.3)
    assert base.log_normalisation(params, couplings) == pytest.approx(free.log_z(mass), rel=1e-12)
    phi, log_q = base.draw(params, jax.random.key(0), couplings, 20_000)
    action = jax.vmap(lambda x: free.action(x, double(mass)))(phi)
    np.testing.assert_allclose(log_q, -action - free.log_z(mass), rtol=1e-9)
    # 12 variances, each ± 1 %: false alarms 1e-4
    found = np.mean(np.asarray(jax.vmap(hartley)(phi)) ** 2, axis=0)
    known = 0.5 / (laplacian_eigenvalues((3, 4)) + 0.3)
    assert np.all(np.abs(found / known - 1) < 0.045)


def test_rows_are_the_residual(rng):
    """∂_t f + ⟨∇f, V⟩ - ∇·V of the flow, from ∂_t f and the rows."""
    model = build(config())
    theory = model.flow.base.theory
    params = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape)), model.init(jax.random.key(0))
    )
    chosen = features(theory.shape)
    squash = jnp.full(len(chosen.channels), 0.8)
    params = params._replace(field={**params.field, "squash": squash})
    point = double(theory.from_values(m=0.7, lam=1.0, alpha=0.0))
    phi = rng.normal(size=(16, *theory.shape))
    t = np.float64(0.6)
    found = Rows(model.path, chosen)._of_some(params, squash, t, point, jnp.asarray(phi))
    theta = params.field["coefficients"] @ basis(jnp.asarray(t), point, model.couplings.ranges)
    for x, row in zip(phi, found, strict=True):
        known = model.path.residual(params, model.flow, jnp.asarray(t), jnp.asarray(x), point)
        assert float(row[-1] + theta @ row[:-2]) == pytest.approx(float(known), rel=1e-9)
        assert float(row[-2]) == pytest.approx(np.sum(x**2))


def test_the_solution_is_that_of_all_rows_at_once(rng):
    """By numpy's least squares, of rows about their means at each node."""
    nodes, n, pairs, degree, bends = 3, 40, 4, 2, 2
    tables = [(rng.normal(size=(n, pairs + 1)), rng.normal(size=n)) for _ in range(nodes)]
    b, rates = rng.normal(size=(nodes, degree)), rng.normal(size=(nodes, bends))
    weights = np.array([0.2, 0.5, 0.3])
    found = solve([_moments(*table) for table in tables], b, weights, rates)
    rows, right = [], []
    for (table, rate), at, bent, w in zip(tables, b, rates, weights, strict=True):
        table, rate = table - table.mean(axis=0), rate - rate.mean()
        each = [np.kron(row[:pairs], at).tolist() + (row[pairs] * bent).tolist() for row in table]
        rows += [np.sqrt(w) * np.array(one) for one in each]
        right += list(-np.sqrt(w) * rate)
    known = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    np.testing.assert_allclose(found.coefficients.reshape(-1), known[: pairs * degree], rtol=1e-4)
    np.testing.assert_allclose(found.bends, known[pairs * degree :], rtol=1e-4)
    left = np.array(rows) @ known - right
    variances = np.sum(left.reshape(nodes, n) ** 2, axis=1) / n / weights
    np.testing.assert_allclose(found.residual**2, variances, rtol=1e-4)


def test_trajectories_sample_their_densities():
    """Two chains of φ⁴ side by side, against the transfer matrix; false alarms 1e-4."""
    theory = Phi4((4,))
    points = [theory.from_values(m=m, lam=0.5, alpha=0.0) for m in (0.5, -1.0)]
    both = jax.tree.map(lambda *x: jnp.asarray(x), *points)

    def energy(group, x):
        return theory.action(x, jax.tree.map(lambda value: value[group], both))

    root = jnp.asarray([1 / np.sqrt(2 * (laplacian_eigenvalues((4,)) + 1.0))] * 2)
    phi = jax.random.normal(jax.random.key(1), (2, 4000, 4))
    phi, log_step, acceptance = jax.jit(walk, static_argnums=(0, 5))(
        energy, jax.random.key(2), phi, root, jnp.full(2, -1.0), 60
    )
    assert np.all(np.abs(np.asarray(acceptance) - 0.8) < 0.15) and np.all(np.isfinite(log_step))
    for one, point in zip(phi, points, strict=True):
        squares = np.mean(np.asarray(one) ** 2, axis=1)
        error = squares.std() / np.sqrt(len(squares))
        assert abs(squares.mean() - TransferMatrix(theory, point).moment(2)) < 4 * error
        mean = np.mean(np.asarray(one), axis=1)
        assert abs(mean.mean()) < 4 * mean.std() / np.sqrt(len(mean))


@pytest.fixture(scope="module")
def quick():
    """Fewer walkers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver, "FIRST", 512)
        patch.setattr(solver, "ROUNDS", 1)
        patch.setattr(path_search, "_BLOCKS", 12)
        yield


@pytest.fixture(scope="module")
def run(quick, tmp_path_factory):
    run = Run.create(
        tmp_path_factory.mktemp("solved") / "run",
        config((2, 2), {"m": 0.8, "lam": 1.0, "alpha": 0.0}),
    )
    train(run, resume=False, report=lambda *_: None, interrupted=lambda: False)
    run.finish()
    return run


def test_a_solved_flow_is_good(run):
    sampler = Sampler.load(run)
    couplings = sampler.theory.from_values(**run.config.couplings)
    ensemble = sampler.draw(couplings, jax.random.key(3), 2048)
    assert ensemble.ess > 0.98
    log_z, exact = ensemble.measure().log_z, StripSolution(sampler.theory, couplings)
    assert abs(log_z.value - exact.log_z) < 4.5 * log_z.stderr + 1e-6


def test_an_interrupted_training_ends_the_same(quick, run, tmp_path):
    again = Run.create(tmp_path / "run", run.config)
    asked = iter(range(10**6))
    for limit in (20, 40):  # somewhere within stages
        with pytest.raises(Interrupted):
            train(
                again,
                resume=True,
                report=lambda *_: None,
                interrupted=lambda limit=limit: next(asked) > limit,
            )
    train(again, resume=True, report=lambda *_: None, interrupted=lambda: False)
    names = ("checkpoint.npz", "history.jsonl")
    ours, theirs = ([(one.path / name).read_bytes() for name in names] for one in (again, run))
    assert ours[1] == theirs[1] and ours[0] == theirs[0]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"batch": 64}, "batch"),
        ({"field": "hollow"}, "field"),
        ({"theory": "gmm-2", "shape": (2,), "couplings": {}}, "not on a lattice"),
        ({"theory": "free-field", "couplings": {}}, "a free field"),
        ({"method": "optimise", "base": "massive"}, "least squares have their own"),
    ],
)
def test_what_does_not_fit_is_refused(more, word):
    whole = {"theory": "phi4", "shape": (2, 3), "couplings": {}, "method": "least-squares", **more}
    with pytest.raises(LatticeFlowsError, match=word):
        Config(**whole)


def test_a_path_begins_at_its_base_and_ends_at_the_target(rng):
    model = build(config())
    params = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape)), model.init(jax.random.key(0))
    )
    point = double(model.flow.base.theory.from_values(m=0.7, lam=1.0, alpha=0.0))
    phi = jnp.asarray(rng.normal(size=(2, 3)))
    params = Params(params.base, params.field, params.path)
    for t, known in zip((0.0, 1.0), model.path.ends(params, phi, point), strict=True):
        found = model.path.energy(params, jnp.float64(t), phi, point)
        assert float(found) == pytest.approx(float(known), rel=1e-12)
