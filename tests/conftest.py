"""Strict numerics for every test, and randomness that is the same on every run."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the commands do; before numpy is loaded

# Compiling takes most of the time, and half of that with XLA's former way to write loops. A flag
# that XLA doesn't know ends a process, so another one tries it first; xdist's workers inherit it.
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
    trial = [sys.executable, "-c", "import jax; jax.devices()"]
    if subprocess.run(trial, capture_output=True).returncode != 0:
        del os.environ["XLA_FLAGS"]

import jaxtyping

# What signatures say of types and shapes is checked at every call of these packages, which are not
# loaded yet. An int will do for a float. Switched off, to see what it costs, a test fails.
if os.environ.get("LATTICE_FLOWS_TEST_SHAPES") != "off":
    jaxtyping.install_import_hook(
        ["theories", "observables"]
        + [f"lattice_flows.{room}" for room in ("flows", "mcmc", "training", "sampling")],
        "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
    )

from lattice_flows.runs import compile_cache

# Programs are kept from one run of the tests to the next, for the
# processes that tests start, too, and never in the user's own cache. Before jax is loaded.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compile_cache.use(Path(__file__).parents[1] / ".pytest_cache" / "jax")

import hypothesis
import jax
import numpy as np
import pytest
from command_line import SINGLE_WELL, small_run

from lattice_flows.runs.run import Run

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Small problems: compiling is what takes time. Processes that tests start compile as usual.
jax.config.update("jax_disable_most_optimizations", True)

# LATTICE_FLOWS_TEST_EXAMPLES asks for a more (or less) thorough search than the default.
hypothesis.settings.register_profile(
    "house",
    max_examples=int(os.environ.get("LATTICE_FLOWS_TEST_EXAMPLES", "20")),
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("house")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed derived from the test's own name: no two tests share one, no run differs."""
    return zlib.crc32(request.node.nodeid.encode())


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def key(seed: int) -> jax.Array:
    return jax.random.key(seed)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """No shapes are checked: where a test passes what signatures forbid, or measures hundreds of
    times, where the checks would take most of the time."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tori stand for large ones, of which nothing exact is known."""
    monkeypatch.setattr("theories.lattice_theory.quick_solution", lambda theory, couplings: None)


@pytest.fixture
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a flow of the cycle of 4 sites, for a range of m."""
    couplings = {"m": (-1.2, -0.8), **SINGLE_WELL}
    path = tmp_path_factory.mktemp("chain") / "run"
    return small_run(path, 0.05, shape=(4,), couplings=couplings)


@pytest.fixture(scope="session")
def torus(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a flow of a lattice of 2 by 3 sites."""
    path = tmp_path_factory.mktemp("torus") / "run"
    return small_run(path, 0.02, shape=(2, 3), couplings={"m": -1.0, **SINGLE_WELL})
