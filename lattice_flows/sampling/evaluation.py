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
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.invariance import checked
from lattice_flows.ensembles.result import UNKNOWN, Compared, known
from lattice_flows.ensembles.solution import Solved, solution, solution_if_quick
from lattice_flows.sampling import distances as metrics
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.sampling.verdict import failed_forward, failed_log_z, largest_pull
from observables import Estimate, Observable, answers_of, kish_ess
from observables.estimate import Detail
from theories import LatticeFlowsError, LatticeTheory, TensorRenormalization, Theory

REFERENCES = ("auto", "exact", "hmc", "none")
"""What the draws are judged by.

auto: exact answers where they take a minute or so, else draws of HMC. exact: these answers also
where they take longer. hmc: draws of HMC, and exact answers. none: exact answers or nothing.
"""

_ACCURACY = 1e-4  # of exact answers that take long: better than a flow's draws

_HALVED = 256  # configurations on which the solver step is halved: those of largest weight
# Of HMC: enough chains to tell the error from their scatter, each long enough to judge its mixing.
_CHAINS, _DRAWS, _EVERY = 16, 128, 4


class Forward(NamedTuple):
    """What samples of p say of a flow. None where log q is not finite at some of them.

    source: "exact", or "hmc". not_finite: at how many samples the flow, run backwards, diverges.
    """

    source: str
    not_finite: int
    ess: float | None
    coverage: float | None
    kl: Estimate | None


class Distances(NamedTuple):
    """Between draws and exact samples, without weights; hausdorff: from the centres of modes."""

    energy: float
    sliced_wasserstein: float
    hausdorff: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation(Compared):
    """What is known of a flow at one coupling point; None is what cannot be known there.

    log_z_integrated: log Z by integration along the flow. log_q_step_halving: the largest change
    of log q when the solver's steps are halved, of the draws of largest weight: where an error of
    the solver has made a weight too large, it shows. Both are NaN where the flow diverges.
    kl_reverse, log_z_error (estimate less exact) and distances need exact answers.
    """

    log_z_integrated: Estimate
    log_q_step_halving: float
    forward: Forward | None = None
    kl_reverse: Estimate | None = None
    log_z_error: Estimate | None = None
    distances: Distances | None = None

    @property
    def details(self) -> dict[str, Detail]:
        forward, distances = self.forward, self.distances
        return {
            **super().details,
            "ess_reverse": self.measurement.ess,
            "ess_forward": forward and forward.ess,
            "coverage": forward and forward.coverage,
            "forward_source": forward and forward.source,
            "forward_not_finite": forward and forward.not_finite,
            "kl_reverse": self.kl_reverse or UNKNOWN,
            "kl_forward": (forward and forward.kl) or UNKNOWN,
            "log_z_integrated": self.log_z_integrated,
            "log_z_error": self.log_z_error or UNKNOWN,
            "energy_distance": distances and distances.energy,
            "sliced_wasserstein": distances and distances.sliced_wasserstein,
            "hausdorff": distances and distances.hausdorff,
            "log_q_step_halving": self.log_q_step_halving,
        }

    def also_failed(self, failed: Sequence[str]) -> "Evaluation":
        """The evaluation with checks that failed besides."""
        names = tuple(dict.fromkeys([*self.failed, *failed]))
        return replace(self, measurement=replace(self.measurement, failed=names))


def evaluate(
    sampler: Sampler,
    couplings: Any,
    key: jax.Array,
    n: int,
    reference: str = "auto",
    own: Sequence[Observable] = (),
) -> Evaluation:
    """What `lattice-flows evaluate` reports, from n draws and n exact samples.

    Without exact answers the forward figures come from draws of HMC (`reference`: see REFERENCES),
    where these agree among themselves. What is not finite fails the check of that name.
    """
    draw_key, key = jax.random.split(key)
    (drawn,) = _reference_draws(sampler.theory, [couplings], key, reference)
    return _judge(sampler, sampler.draw(couplings, draw_key, n), key, drawn, reference, own)


def evaluate_grid(
    sampler: Sampler,
    grid: Sequence[Any],
    key: jax.Array,
    n: int,
    reference: str = "auto",
    own: Sequence[Observable] = (),
) -> Iterator[Evaluation]:
    """The evaluation at each couplings of `grid`, in that order.

    What is drawn is what a scan draws: a transport draws all that lie on one line at once.
    """
    draw_key, key = jax.random.split(key)
    references = _reference_draws(sampler.theory, grid, key, reference)
    ensembles = sampler.draw_grid(grid, draw_key, n)
    for i, (ensemble, drawn) in enumerate(zip(ensembles, references, strict=True)):
        yield _judge(sampler, ensemble, jax.random.fold_in(key, i), drawn, reference, own)


def _solved(theory: Theory, couplings: Any, reference: str) -> Solved | None:
    """The exact solution, None where there is none that is to be waited for."""
    if reference == "exact":
        return solution(theory, couplings, _ACCURACY)
    return solution_if_quick(theory, couplings)


def _needs_chains(theory: Theory, couplings: Any, reference: str) -> bool:
    """Whether draws of HMC are to be the reference."""
    if not isinstance(theory, LatticeTheory) or reference == "none":
        return False
    if reference == "hmc":
        return True
    exact = _solved(theory, couplings, reference)
    return exact is None or isinstance(exact, TensorRenormalization)


def _reference_draws(
    theory: Theory, grid: Sequence[Any], key: jax.Array, reference: str
) -> Sequence[Ensemble | None]:
    """Draws of HMC at each couplings of `grid`, where they are to be the reference."""
    needed = [i for i, point in enumerate(grid) if _needs_chains(theory, point, reference)]
    found: list[Ensemble | None] = [None] * len(grid)
    if not needed:
        return found
    from lattice_flows.mcmc.hmc import hmc_grid  # loads blackjax

    key = jax.random.fold_in(key, len(grid))  # the others are used at the points
    chains = hmc_grid(theory, [grid[i] for i in needed], key, _CHAINS, _DRAWS, every=_EVERY)
    for i, ensemble in zip(needed, chains, strict=True):
        found[i] = ensemble
    return found


def _judge(
    sampler: Sampler,
    ensemble: Ensemble,
    key: jax.Array,
    chains: Ensemble | None,
    reference: str,
    own: Sequence[Observable],
) -> Evaluation:
    """The evaluation from an ensemble of the sampler's draws, and chains of HMC."""
    exact_key, integration_key = jax.random.split(key)
    couplings, n = ensemble.couplings, len(ensemble.configurations)
    measurement = checked(ensemble, ensemble.measure(own))
    log_weights = np.asarray(ensemble.log_weights)
    heaviest = np.argsort(-log_weights)[:_HALVED]
    few = ensemble.configurations[heaviest]
    halved = sampler.log_weights(few, couplings, 2 * sampler.flow.steps)
    found = Evaluation(
        sampler.theory,
        couplings,
        measurement,
        log_z_integrated=sampler.integrated_log_z(couplings, integration_key, n),
        log_q_step_halving=float(np.max(np.abs(halved - log_weights[heaviest]))),
    )
    if not np.isfinite([found.log_z_integrated.value, found.log_q_step_halving]).all():
        found = found.also_failed(["not_finite"])
    if chains is not None:
        found = _by_hmc(sampler, found, chains, own)
    exact = _solved(sampler.theory, couplings, reference)
    if exact is None:
        return found
    if isinstance(exact, TensorRenormalization):
        return _by_log_z(found, log_weights, _answer(exact.observables(), "log_z"))
    told = answers_of(exact, own)
    found = _by_log_z(found, log_weights, _answer(told, "log_z"))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(exact_key)))
    return _by_exact(sampler, found, ensemble, exact.sample(rng, n), told, rng)


def _answer(told: Mapping[str, Any], name: str) -> Estimate:
    """An exact answer and what it may be off by; NaN where it is not known."""
    value = float(told.get(name, np.nan))
    return Estimate(value, float(told.get(f"{name}_accuracy", 0.0)))


def _by_log_z(found: Evaluation, log_weights: NDArray[np.float64], exact: Estimate) -> Evaluation:
    """The evaluation with what the exact log Z says."""
    log_z = found.log_z
    assert log_z is not None  # draws of a flow have weights
    error = float(np.hypot(log_z.stderr, exact.stderr))
    return replace(
        found.also_failed(failed_log_z(log_z, exact)),
        exact=known({"log_z": exact.value}, [*found.observables, "log_z"]),
        kl_reverse=_mean(exact.value - log_weights),
        log_z_error=Estimate(log_z.value - exact.value, error),
    )


def _by_exact(
    sampler: Sampler,
    found: Evaluation,
    ensemble: Ensemble,
    samples: NDArray[np.float64],
    told: Mapping[str, Any],
    rng: np.random.Generator,
) -> Evaluation:
    """The evaluation with what exact samples and the exact answers `told` say."""
    couplings, measurement = found.couplings, found.measurement
    answers = {name: _answer(told, name) for name in [*measurement.observables, "log_z"]}
    if found.forward is None:
        log_ratio = sampler.log_weights(samples, couplings) - answers["log_z"].value
        forward = _forward("exact", log_ratio)
        found = replace(found, forward=forward)
        found = found.also_failed(failed_forward(forward.ess, measurement.n))
    pull, _, threshold = largest_pull(measurement, answers)
    draws = np.asarray(ensemble.configurations)
    return replace(
        found.also_failed(("exact",) if pull > threshold else ()),
        exact={name: one.value for name, one in answers.items()},
        distances=_distances(sampler.theory, couplings, draws, samples, rng),
    )


def _by_hmc(
    sampler: Sampler, found: Evaluation, reference: Ensemble, own: Sequence[Observable]
) -> Evaluation:
    """The evaluation with forward figures and verdict by draws of HMC, if its chains agree."""
    measured = reference.measure(own)
    if not measured.reliable:
        return found
    log_z = found.log_z
    assert log_z is not None  # draws of a flow have weights
    log_ratio = sampler.log_weights(reference.configurations[:], reference.couplings) - log_z.value
    forward = _forward("hmc", log_ratio)
    if forward.kl is not None:
        # draws of one chain are correlated, chains are not; the mean weight has its own error
        by_chain = log_ratio.reshape(_CHAINS, _DRAWS).mean(axis=1)
        error = np.hypot(by_chain.std(ddof=1) / np.sqrt(_CHAINS), log_z.stderr)
        forward = forward._replace(kl=Estimate(forward.kl.value, float(error)))
    pull, _, threshold = largest_pull(found.measurement, measured.observables)
    failed = failed_forward(forward.ess, found.measurement.n)
    failed += ("hmc",) if pull > threshold else ()
    return replace(found.also_failed(failed), forward=forward)


def _forward(source: str, log_ratio: NDArray[np.float64]) -> Forward:
    """The forward figures from log p/q over samples of p."""
    if bad := int(np.sum(~np.isfinite(log_ratio))):
        return Forward(source, bad, None, None, None)
    return Forward(source, 0, forward_ess(log_ratio), kish_ess(-log_ratio), _mean(log_ratio))


def forward_ess(log_ratio: NDArray[np.float64]) -> float:
    """1/⟨p/q⟩_p from log p/q over samples of p."""
    return float(np.exp(np.log(len(log_ratio)) - logsumexp(log_ratio)))


def _distances(
    theory: Theory,
    couplings: Any,
    draws: NDArray[np.float64],
    samples: NDArray[np.float64],
    rng: np.random.Generator,
) -> Distances:
    """How far the draws are from exact samples and from the centres of the modes, where known."""
    centres = theory.mode_centres(couplings)
    few = draws[: metrics.MOST], samples[: metrics.MOST]
    return Distances(
        metrics.energy_distance(*few),
        metrics.sliced_wasserstein(*few, rng),
        None if centres is None else metrics.hausdorff(centres, draws),
    )


def _mean(values: NDArray[np.float64]) -> Estimate:
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))


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
