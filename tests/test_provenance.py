"""What files say of the process that wrote them."""

import json

import jax
import pytest

from lattice_flows import provenance
from lattice_flows.provenance import job, origin, use_seed


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
