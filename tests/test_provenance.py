"""What files say of the process that wrote them."""

import json
import shutil
import subprocess
import sys

import jax
import pytest

from lattice_flows.io import provenance
from lattice_flows.io.provenance import job, origin, use_seed


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    for names in provenance._JOB_IDS.items():
        for name in (*names, "SLURM_RESTART_COUNT", "LATTICE_FLOWS_HOSTNAME"):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(provenance, "_seed", None)


def test_device_precision_and_versions():
    found = json.loads(json.dumps(origin()))
    assert found["device"] == {
        "platform": jax.devices()[0].platform,
        "kind": jax.devices()[0].device_kind,
        "count": len(jax.devices()),
    }
    assert found["precision"] == {"x64": jax.config.jax_enable_x64, "matmul": "default"}
    assert {"python", "jax", "jaxlib", "numpy", "lattice-flows"} <= found["versions"].keys()
    with jax.enable_x64(not jax.config.jax_enable_x64):
        assert origin()["precision"]["x64"] is not found["precision"]["x64"]
    with jax.default_matmul_precision("highest"):
        assert origin()["precision"]["matmul"] == "highest"


@pytest.mark.parametrize("error", [RuntimeError, AssertionError])  # as the platform is
def test_what_is_computed_without_jax_needs_no_device(error, monkeypatch):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    assert {"device", "precision"}.isdisjoint(origin())


def test_the_seed_is_there_once_it_is_used():
    assert "seed" not in origin()
    use_seed(0)
    assert origin()["seed"] == 0


def test_the_name_of_the_machine_is_given_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(provenance.socket, "gethostname", lambda: "node-17.example.org")
    assert "node-17" not in json.dumps(origin())
    monkeypatch.setenv("LATTICE_FLOWS_HOSTNAME", "0")
    assert "node-17" not in json.dumps(origin())
    monkeypatch.setenv("LATTICE_FLOWS_HOSTNAME", "1")
    assert origin()["host"] == "node-17.example.org"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "7"}, {"id": "7", "restarts": 0}),
        (
            {"SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_RESTART_COUNT": "2"},
            {"id": "7[3]", "restarts": 2},
        ),
        ({"PBS_JOBID": "12.server", "PBS_ARRAY_INDEX": "4"}, {"id": "12.server[4]", "restarts": 0}),
        ({"JOB_ID": "9", "SGE_TASK_ID": "undefined"}, {"id": "9", "restarts": 0}),
        ({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "many"}, {"id": "7", "restarts": 0}),
    ],
)
def test_jobs_of_schedulers(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert job() == expected
    assert origin().get("job") == expected


def test_commit_of_a_checkout_and_none_elsewhere(tmp_path, monkeypatch):
    if shutil.which("git") is None:
        pytest.skip("no git here")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "lattice_flows" / "files.py"))
    ask = provenance._commit.__wrapped__
    assert ask() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert ask() is None  # nothing committed yet
    (tmp_path / "a").write_text("1")
    subprocess.run([*git, "add", "a"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    commit = ask()
    assert commit is not None and len(commit) == 12
    (tmp_path / "a").write_text("2")
    assert ask() == commit + "+"
    monkeypatch.setattr(
        provenance.subprocess, "run", lambda *a, **k: (_ for _ in ()).throw(OSError())
    )
    assert ask() is None


def test_provenance_names_the_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lattice-flows", "scan", "a run"])
    assert provenance.provenance()["history"].endswith("Z lattice-flows scan 'a run'")
