"""How good a trained flow is: ESS and KL, reverse and forward, against exact answers.

With w = e^{-S}/q and its mean Z over draws of q:

    reverse ESS = (Σw)²/(n Σw²),       KL(q‖p) = log Z - ⟨log w⟩_q           (draws of the flow)
    forward ESS = 1/⟨w/Z⟩_p,           KL(p‖q) = ⟨log w⟩_p - log Z           (exact samples of p)
    coverage    = ⟨1/w⟩_p²/⟨1/w²⟩_p                                          (exact samples of p)

The coverage is Kish's ESS of q/p over samples of p, what Máté & Fleuret (arXiv:2301.07388) call
forward ESS: of a flow that samples a part of p alone, and that well, it is the probability of that
part, where our forward ESS is 0, as no number of its draws would do.

The forward figures and an exact log Z need an exact answer, which every chain has. Reverse figures
alone cannot be trusted: a flow that has lost a well still shows a high reverse ESS. Distances
between the draws as they are, without weights, and exact samples are those of metrics.py.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from lattice_flows import metrics
from lattice_flows.ensemble import Ensemble, config_of
from lattice_flows.results import known
from lattice_flows.sampler import Sampler
from observables import kish_ess
from theories import Theory

_DISTANCES = ("energy_distance", "sliced_wasserstein", "hausdorff")
_HALVED = 256  # configurations on which the solver step is halved: those of largest weight


def evaluate(sampler: Sampler, couplings: Any, key: jax.Array, n: int) -> dict[str, Any]:
    """The JSON report of `lattice-flows evaluate`, from n draws and n exact samples.

    What needs an exact answer is None where there is none. `log_q_step_halving` is the largest
    change of log q when the solver's steps are halved, of the draws of largest weight: where an
    error of the solver has made a weight too large, it shows.
    """
    draw_key, key = jax.random.split(key)
    return _judge(sampler, sampler.draw(couplings, draw_key, n), key)


def evaluate_grid(
    sampler: Sampler, grid: Sequence[Any], key: jax.Array, n: int
) -> Iterator[dict[str, Any]]:
    """The report at each couplings of `grid`, in that order.

    What is drawn is what a scan draws: a transport draws all that lie on one line at once.
    """
    draw_key, key = jax.random.split(key)
    for i, ensemble in enumerate(sampler.draw_grid(grid, draw_key, n)):
        yield _judge(sampler, ensemble, jax.random.fold_in(key, i))


def _judge(sampler: Sampler, ensemble: Ensemble, key: jax.Array) -> dict[str, Any]:
    """The report on an ensemble of the sampler's draws."""
    exact_key, integration_key = jax.random.split(key)
    couplings, n = ensemble.couplings, len(ensemble.configurations)
    measurement = ensemble.measure()
    log_weights = np.asarray(ensemble.log_weights)
    heaviest = np.argsort(-log_weights)[:_HALVED]
    few = ensemble.configurations[heaviest]
    halved = sampler.log_weights(few, couplings, 2 * sampler.flow.steps)
    integrated = sampler.integrated_log_z(couplings, integration_key, n)
    report = {
        **config_of(sampler.theory, couplings),
        **measurement.as_json(),
        "ess_reverse": measurement.ess,
        "ess_forward": None,
        "coverage": None,
        **_mean("kl_reverse", None),
        **_mean("kl_forward", None),
        "log_z_integrated": integrated.value,
        "log_z_integrated_stderr": integrated.stderr,
        "log_z_error": None,
        "log_z_error_stderr": None,
        **dict.fromkeys(_DISTANCES),
        "log_q_step_halving": float(np.max(np.abs(halved - log_weights[heaviest]))),
        "exact": None,
    }
    exact = sampler.theory.exact(couplings)
    if exact is None:
        return report
    rng = np.random.default_rng(np.asarray(jax.random.key_data(exact_key)))
    samples = exact.sample(rng, n)
    log_ratio = sampler.log_weights(samples, couplings) - exact.log_z
    answers = exact.observables()
    names = [*measurement.observables, "log_z"]
    log_z = measurement.log_z
    assert log_z is not None  # draws of a flow have weights
    return report | {
        **_mean("kl_reverse", exact.log_z - log_weights),
        **_mean("kl_forward", log_ratio),
        "ess_forward": forward_ess(log_ratio),
        "coverage": kish_ess(-log_ratio),
        "log_z_error": log_z.value - exact.log_z,
        "log_z_error_stderr": log_z.stderr,
        **_distances(sampler.theory, couplings, ensemble.configurations, samples, rng),
        "exact": known(answers, names),
    }


def forward_ess(log_ratio: NDArray[np.float64]) -> float:
    """1/⟨p/q⟩_p from log p/q over samples of p."""
    return float(np.exp(np.log(len(log_ratio)) - logsumexp(log_ratio)))


def _distances(
    theory: Theory,
    couplings: Any,
    draws: NDArray[np.float64],
    samples: NDArray[np.float64],
    rng: np.random.Generator,
) -> dict[str, float | None]:
    """How far the draws are from exact samples and from the centres of the modes, where known."""
    centres = theory.mode_centres(couplings)
    few = draws[: metrics.MOST], samples[: metrics.MOST]
    distances = (
        metrics.energy_distance(*few),
        metrics.sliced_wasserstein(*few, rng),
        None if centres is None else metrics.hausdorff(centres, draws),
    )
    return dict(zip(_DISTANCES, distances, strict=True))


def _mean(name: str, values: np.ndarray | None) -> dict[str, float | None]:
    """The mean and its error, as NAME and NAME_stderr."""
    if values is None:
        return {name: None, f"{name}_stderr": None}
    stderr = np.std(values, ddof=1) / np.sqrt(len(values))
    return {name: float(np.mean(values)), f"{name}_stderr": float(stderr)}
