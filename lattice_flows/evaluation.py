"""How good a trained flow is: ESS and KL, reverse and forward, against exact answers.

With w = e^{-S}/q and its mean Z over draws of q:

    reverse ESS = (Σw)²/(n Σw²),       KL(q‖p) = log Z - ⟨log w⟩_q           (draws of the flow)
    forward ESS = 1/⟨w/Z⟩_p,           KL(p‖q) = ⟨log w⟩_p - log Z           (exact samples of p)

The forward figures and an exact log Z need an exact answer, which every chain has. Reverse figures
alone cannot be trusted: a flow that has lost a well still shows a high reverse ESS.
"""

from typing import Any

import jax
import numpy as np

from lattice_flows.ensemble import config_of
from lattice_flows.sampler import Sampler
from theories import Theory, TransferMatrix

_HALVED = 256  # configurations on which the solver step is halved


def exact_answers(theory: Theory, couplings: Any) -> TransferMatrix | None:
    """The transfer matrix, where the lattice is a chain."""
    return TransferMatrix(theory, couplings) if len(theory.shape) == 1 else None


def evaluate(sampler: Sampler, couplings: Any, key: jax.Array, n: int) -> dict[str, Any]:
    """The JSON report of `lattice-flows evaluate`, from n draws and n exact samples.

    KL(q‖p) uses the exact log Z where there is one, else that of the draws. `log_q_step_halving` is
    the largest change of log q when the solver's steps are halved.
    """
    draw_key, exact_key = jax.random.split(key)
    ensemble = sampler.draw(couplings, draw_key, n)
    measurement = ensemble.measure()
    log_weights = np.asarray(ensemble.log_weights)
    exact = exact_answers(sampler.theory, couplings)
    log_z = measurement.log_z
    assert log_z is not None  # the draws have weights
    reference = exact.log_z if exact else log_z.value
    few = ensemble.configurations[:_HALVED]
    halved = sampler.log_weights(few, couplings, 2 * sampler.flow.steps)
    report = {
        **config_of(sampler.theory, couplings),
        **measurement.as_json(),
        "ess_reverse": measurement.ess,
        "kl_reverse": _mean(reference - log_weights),
        "ess_forward": None,
        "kl_forward": None,
        "exact": None,
        "log_q_step_halving": float(np.max(np.abs(halved - log_weights[: len(few)]))),
    }
    if exact:
        report |= _forward(sampler, couplings, exact, exact_key, n)
        answers = exact.observables()
        names = [*measurement.observables, "log_z"]
        report["exact"] = {name: float(answers[name]) for name in names}
    return report


def _forward(
    sampler: Sampler, couplings: Any, exact: TransferMatrix, key: jax.Array, n: int
) -> dict[str, Any]:
    """ESS and KL over exact samples."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    samples = exact.sample(rng, n)
    log_ratio = sampler.log_weights(samples, couplings) - exact.log_z
    return {
        "ess_forward": float(1 / np.mean(np.exp(log_ratio))),
        "kl_forward": _mean(log_ratio),
    }


def _mean(values: np.ndarray) -> dict[str, float]:
    stderr = np.std(values, ddof=1) / np.sqrt(len(values))
    return {"value": float(np.mean(values)), "stderr": float(stderr)}
