"""What a flow is judged by."""

import jax
import numpy as np
import pytest
from command_line import SINGLE_WELL

from lattice_flows.flows.model import build
from lattice_flows.runs.config import Config
from lattice_flows.sampling.evaluation import evaluate
from lattice_flows.sampling.sampler import Sampler
from theories import LatticeFlowsError, StripSolution


def untrained(shape):
    config = Config("phi4", shape, {"m": -1.0, **SINGLE_WELL}, width=4, ode_steps=4)
    model = build(config)
    sampler = Sampler(config, model, model.init(jax.random.key(0)), {})
    return sampler, sampler.theory.from_values(**config.couplings)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("reference", ["auto", "exact"])
def test_log_z_judges_where_it_alone_is_known(monkeypatch, reference):
    """Log Z by tensor renormalisation, the forward figures from draws of HMC."""

    def too_dear(*_, **__):
        raise LatticeFlowsError("would take long")

    sampler, couplings = untrained((2, 4))
    exact = StripSolution(sampler.theory, couplings)
    monkeypatch.setattr("lattice_flows.ensembles.solution.StripSolution", too_dear)
    found = evaluate(sampler, couplings, jax.random.key(1), 256, reference)
    assert found.exact["log_z"] == pytest.approx(exact.log_z, abs=1e-4)
    assert np.isnan([found.exact[name] for name in found.observables]).all()
    assert found.forward.source == "hmc" and found.kl_reverse.value > 0
    error = found.log_z.value - exact.log_z
    assert found.log_z_error.value == pytest.approx(error, abs=1e-4)


def test_exact_answers_are_refused_where_there_are_none():
    sampler, couplings = untrained((2, 2, 2))
    with pytest.raises(LatticeFlowsError, match="no exact answer is known"):
        evaluate(sampler, couplings, jax.random.key(1), 64, "exact")
