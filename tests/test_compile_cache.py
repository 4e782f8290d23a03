"""Compiled programs are kept: one for all couplings, in a folder that stops nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from command_line import call

from lattice_flows.flows.model import build
from lattice_flows.runs import compile_cache
from lattice_flows.runs.compile_cache import processor
from lattice_flows.runs.config import Config
from lattice_flows.training.trainer import Plan, Trainer


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What jax would be told."""
    told: dict[str, object] = {}
    monkeypatch.setattr(compile_cache, "_configure", told.__setitem__)
    for name in (compile_cache.VARIABLE, "JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return told


FOLDER = "jax_compilation_cache_dir"


def test_the_folder(settings, monkeypatch):
    """The user's cache folder, jax's own variable left to jax, ours before it."""
    assert compile_cache.default_folder() == Path.home() / ".cache/lattice-flows/jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert compile_cache.default_folder() == Path("/elsewhere/lattice-flows/jax")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/jax")
    assert compile_cache.default_folder() is None
    monkeypatch.setenv("LATTICE_FLOWS_CACHE", "/ours")
    assert compile_cache.default_folder() == Path("/ours")


def test_a_user_without_a_home_keeps_nothing(settings, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert compile_cache.default_folder() is None
    assert call("exact", "phi4", "--sites", 4).exit_code == 0


def test_the_options(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("LATTICE_FLOWS_CACHE", str(tmp_path / "variable"))
    exact = ("exact", "phi4", "--sites", 4)
    assert call(*exact).exit_code == 0
    assert settings[FOLDER] == str(tmp_path / "variable" / processor())
    assert call(*exact, "--cache", tmp_path / "option").exit_code == 0
    assert settings[FOLDER] == str(tmp_path / "option" / processor())
    settings.clear()
    assert call(*exact, "--no-cache").exit_code == 0
    assert settings == {"jax_enable_compilation_cache": False}


def test_a_folder_that_cannot_be_used_is_a_note(settings, tmp_path):
    (tmp_path / "file").write_text("")
    result = call("exact", "phi4", "--sites", 4, "--cache", tmp_path / "file" / "below")
    assert result.exit_code == 0 and FOLDER not in settings
    assert "note: compiled programs are not kept" in result.stderr


def test_a_folder_that_jax_cannot_name_is_a_note(settings, tmp_path):
    done = call("exact", "phi4", "--sites", 4, "--cache", f"{tmp_path}/\udcff")
    assert done.exit_code == 0 and "UTF-8" in done.stderr
    assert FOLDER not in settings


def test_half_written_and_old_entries_go(settings, tmp_path, monkeypatch):
    whole, folder = zlib.compress(os.urandom(1000)), tmp_path / processor()
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}-cache").write_bytes(whole)
        os.utime(folder / f"{i}-cache", (i, i))
    (folder / "torn-cache").write_bytes(whole[:500])
    monkeypatch.setattr(compile_cache, "_LARGEST", 3 * len(whole))
    assert compile_cache.use(tmp_path) is None
    assert sorted(p.name for p in folder.glob("*-cache")) == ["2-cache", "3-cache", "4-cache"]


# one program for all values


def lowered(**values) -> list[str]:
    """What is compiled for a training."""
    given = {"theory": "phi4", "shape": (4,), "batch": 32, "width": 4, "ode_steps": 2} | values
    trainer, key = Trainer(Config(**given)), jax.random.key(0)
    plan = trainer.plan
    base = trainer._compiled_base.lower(plan, key)
    state = jax.eval_shape(trainer.init, key)
    return [base.as_text(), trainer._compiled_advance.lower(plan, state, 1).as_text()]


def test_numbers_are_no_part_of_the_programs():
    other = {"couplings": {"m": 0.6, "lam": 0.07}, "learning_rate": 1e-4, "steps": 77, "seed": 5}
    with jax.numpy_dtype_promotion("standard"):
        assert lowered(couplings={"m": 0.5}) == lowered(**other)


def test_draws_and_densities_call_nothing_back():
    """jax keeps no program that calls back to Python: it would be compiled by every process."""
    config = Config("phi4", (4,), width=4, ode_steps=2)
    model = build(config)
    params, couplings = model.init(jax.random.key(0)), model.couplings.fixed
    drawn = jax.jit(model._draw, static_argnums=3).lower(params, jax.random.key(1), couplings, 8)
    phi = jnp.zeros((8, 4))
    density = jax.jit(model._log_weights, static_argnums=3).lower(params, phi, couplings, 2)
    for program in (drawn, density):
        assert "callback" not in program.as_text()


def test_the_learning_rate_is_that_of_optax():
    config = Config("phi4", (4,), steps=200, learning_rate=0.01)
    plan, theirs = Plan.of(config, ()), optax.warmup_cosine_decay_schedule(0.0, 0.01, 50, 200)
    counts = np.arange(220)
    ours = [float(plan.rate(jnp.asarray(n))) for n in counts]
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(ours, [float(theirs(n)) for n in counts], rtol=1e-12, atol=1e-18)


@pytest.mark.slow
def test_another_coupling_finds_its_programs(tmp_path):
    """In a new process nothing of a second is compiled anew."""
    code = """
import jax, sys
from lattice_flows.scripts.cli import main
missed = []
jax.monitoring.register_event_listener(
    lambda name, **_: missed.append(name) if name.endswith("cache_misses") else None
)
main(sys.argv[1:], standalone_mode=False)
print(len(missed))
"""

    def misses(m: float) -> int:
        train = ["train", str(tmp_path / str(m)), "--theory", "phi4", "--sites", "4"]
        train += ["--m", str(m), "--steps", "30", "--batch", "32", "--width", "4"]
        command = [sys.executable, "-c", code, *train, "--cache", str(tmp_path / "cache")]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return int(done.stdout)

    first = misses(0.5)
    assert first >= 3
    kept = set((tmp_path / "cache").rglob("*-cache"))
    assert misses(0.6) < first
    assert set((tmp_path / "cache").rglob("*-cache")) == kept
