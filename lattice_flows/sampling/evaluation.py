"""How good a trained flow is: ESS and KL, reverse and forward, against exact answers.

With w = e^{-S}/q and its mean Z over draws of q:

    reverse ESS = (Σw)²/(n Σw²),       KL(q‖p) = log Z - ⟨log w⟩_q           (draws of the flow)
    forward ESS = 1/⟨w/Z⟩_p,           KL(p‖q) = ⟨log w⟩_p - log Z           (exact samples of p)
    coverage    = ⟨1/w⟩_p²/⟨1/w²⟩_p                                          (exact samples of p)

The coverage is Kish's ESS of q/p over samples of p, what Máté & Fleuret (arXiv:2301.07388) call
forward ESS: of a flow that samples a part of p alone, and that well, it is the probability of that
part, where our forward ESS is 0, as no number of its draws would do.

The forward figures need samples of p: exact ones, which every chain has, or else draws of HMC, in
any dimension; Z is then the mean weight. Reverse figures alone cannot be trusted: a flow that has
lost a well still shows a high reverse ESS. What is known of p therefore judges, too (verdict.py).
Distances between the draws as they are, without weights, and exact samples are those of
distances.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from lattice_flows.ensembles.ensemble import Ensemble, config_of
from lattice_flows.ensembles.invariance import checked
from lattice_flows.ensembles.results import known
from lattice_flows.sampling import distances as metrics
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.sampling.verdict import failed_forward, failed_log_z, largest_pull
from observables import Estimate, Measurement, Observable, answers_of, kish_ess
from theories import LatticeFlowsError, LatticeTheory, Theory

REFERENCES = ("auto", "hmc", "none")
"""What the draws are judged by: exact answers, else draws of HMC; HMC; exact answers or nothing."""

_DISTANCES = ("energy_distance", "sliced_wasserstein", "hausdorff")
_HALVED = 256  # configurations on which the solver step is halved: those of largest weight
# Of HMC: enough chains to tell the error from their scatter, each long enough to judge its mixing.
_CHAINS, _DRAWS, _EVERY = 16, 128, 4


def evaluate(
    sampler: Sampler,
    couplings: Any,
    key: jax.Array,
    n: int,
    reference: str = "auto",
    own: Sequence[Observable] = (),
) -> dict[str, Any]:
    """The JSON report of `lattice-flows evaluate`, from n draws and n exact samples.

    What needs an exact answer is None where there is none; the forward figures then come from draws
    of HMC (`reference`: see REFERENCES), and are None where those do not agree among themselves.
    `log_q_step_halving` is the largest change of log q when the solver's steps are halved, of the
    draws of largest weight: where an error of the solver has made a weight too large, it shows.
    `forward_not_finite` counts the samples of p from which the flow, run backwards, diverges. What
    is not finite is None, and fails the check of that name.
    """
    draw_key, key = jax.random.split(key)
    (drawn,) = _reference_draws(sampler.theory, [couplings], key, reference)
    return _judge(sampler, sampler.draw(couplings, draw_key, n), key, drawn, own)


def evaluate_grid(
    sampler: Sampler,
    grid: Sequence[Any],
    key: jax.Array,
    n: int,
    reference: str = "auto",
    own: Sequence[Observable] = (),
) -> Iterator[dict[str, Any]]:
    """The report at each couplings of `grid`, in that order.

    What is drawn is what a scan draws: a transport draws all that lie on one line at once.
    """
    draw_key, key = jax.random.split(key)
    references = _reference_draws(sampler.theory, grid, key, reference)
    ensembles = sampler.draw_grid(grid, draw_key, n)
    for i, (ensemble, drawn) in enumerate(zip(ensembles, references, strict=True)):
        yield _judge(sampler, ensemble, jax.random.fold_in(key, i), drawn, own)


def _reference_draws(
    theory: Theory, grid: Sequence[Any], key: jax.Array, reference: str
) -> Sequence[Ensemble | None]:
    """Draws of HMC at each couplings of `grid`, where they are to be the reference."""
    wanted = reference == "hmc" or (reference == "auto" and theory.exact(grid[0]) is None)
    if not wanted or not isinstance(theory, LatticeTheory):
        return [None] * len(grid)
    from lattice_flows.mcmc.hmc import hmc_grid  # loads blackjax

    key = jax.random.fold_in(key, len(grid))  # the others are used at the points
    return hmc_grid(theory, grid, key, _CHAINS, _DRAWS, every=_EVERY)


def _judge(
    sampler: Sampler,
    ensemble: Ensemble,
    key: jax.Array,
    reference: Ensemble | None,
    own: Sequence[Observable],
) -> dict[str, Any]:
    """The report on an ensemble of the sampler's draws."""
    exact_key, integration_key = jax.random.split(key)
    couplings, n = ensemble.couplings, len(ensemble.configurations)
    measurement = checked(ensemble, ensemble.measure(own))
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
        "forward_source": None,
        "forward_not_finite": None,
        **_mean("kl_reverse", None),
        **_mean("kl_forward", None),
        "log_z_integrated": _finite(integrated.value),
        "log_z_integrated_stderr": _finite(integrated.stderr),
        "log_z_error": None,
        "log_z_error_stderr": None,
        **dict.fromkeys(_DISTANCES),
        "log_q_step_halving": _finite(np.max(np.abs(halved - log_weights[heaviest]))),
        "exact": None,
    }
    if report["log_z_integrated"] is None or report["log_q_step_halving"] is None:
        report |= _also_failed(report, ["not_finite"])
    exact = sampler.theory.exact(couplings)
    if reference is not None:
        report |= _by_hmc(sampler, report, measurement, reference, own)
    if exact is None:
        return report
    rng = np.random.default_rng(np.asarray(jax.random.key_data(exact_key)))
    samples = exact.sample(rng, n)
    log_ratio = sampler.log_weights(samples, couplings) - exact.log_z
    answers = answers_of(exact, own)
    names = [*measurement.observables, "log_z"]
    log_z = measurement.log_z
    assert log_z is not None  # draws of a flow have weights
    answered = {
        name: Estimate(float(answers[name]), 0.0)
        for name in measurement.observables
        if name in answers
    }
    pull, _, threshold = largest_pull(measurement, answered)
    if report["forward_source"] is None:
        report |= {"forward_source": "exact", **_forward(log_ratio)}
        report |= _also_failed(report, failed_forward(report["ess_forward"], n))
    failed = failed_log_z(log_z, exact.log_z) + (("exact",) if pull > threshold else ())
    return report | {
        **_also_failed(report, failed),
        **_mean("kl_reverse", exact.log_z - log_weights),
        "log_z_error": log_z.value - exact.log_z,
        "log_z_error_stderr": log_z.stderr,
        **_distances(sampler.theory, couplings, np.asarray(ensemble.configurations), samples, rng),
        "exact": known(answers, names),
    }


def _by_hmc(
    sampler: Sampler,
    report: Mapping[str, Any],
    measurement: Measurement,
    reference: Ensemble,
    own: Sequence[Observable],
) -> dict[str, Any]:
    """The forward figures and the verdict by draws of HMC; nothing where its chains disagree."""
    found = reference.measure(own)
    if not found.reliable:
        return {}
    log_z = measurement.log_z
    assert log_z is not None  # draws of a flow have weights
    log_ratio = sampler.log_weights(reference.configurations[:], reference.couplings) - log_z.value
    forward = _forward(log_ratio)
    if not forward["forward_not_finite"]:
        # draws of one chain are correlated, chains are not; the mean weight has its own error
        by_chain = log_ratio.reshape(_CHAINS, _DRAWS).mean(axis=1)
        error = np.hypot(by_chain.std(ddof=1) / np.sqrt(_CHAINS), log_z.stderr)
        forward["kl_forward_stderr"] = float(error)
    pull, _, threshold = largest_pull(measurement, found.observables)
    failed = failed_forward(forward["ess_forward"], measurement.n)
    failed += ("hmc",) if pull > threshold else ()
    return {
        **_also_failed(report, failed),
        **forward,
        "forward_source": "hmc",
    }


def _forward(log_ratio: NDArray[np.float64]) -> dict[str, Any]:
    """The forward figures from log p/q over samples of p; None where one is not finite."""
    bad = int(np.sum(~np.isfinite(log_ratio)))
    return {
        **_mean("kl_forward", None if bad else log_ratio),
        "ess_forward": None if bad else forward_ess(log_ratio),
        "coverage": None if bad else kish_ess(-log_ratio),
        "forward_not_finite": bad,
    }


def _also_failed(report: Mapping[str, Any], failed: Sequence[str]) -> dict[str, Any]:
    """What a report says of its checks, with those that failed besides."""
    names = list(dict.fromkeys([*report["failed"], *failed]))
    return {"failed": names, "reliable": not names}


def _finite(number: Any) -> float | None:
    return float(number) if np.isfinite(number) else None


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


def reach(sampler: Sampler, key: jax.Array, n: int = 2048) -> list[dict[str, Any]]:
    """ESS at both ends and in the middle of the ranges: what a flow is worth there.

    None where it diverges.
    """
    theory, config = sampler.theory, sampler.config
    found = []
    for i, share in enumerate((0.0, 0.5, 1.0) if config.ranges else (0.0,)):
        point = {
            name: value[0] + share * (value[1] - value[0]) if isinstance(value, tuple) else value
            for name, value in config.couplings.items()
        }
        try:
            ess = sampler.draw(theory.from_values(**point), jax.random.fold_in(key, i), n).ess
        except LatticeFlowsError:
            ess = None
        found.append({"couplings": point, "ess": ess})
    return found
