"""All observables of an ensemble with errors, and whether they can be believed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from theories import (
    ExactAnswers,
    LatticeFlowsError,
    LatticeTheory,
    TensorRenormalization,
    Theory,
)

from . import weights
from .chains import Mixing, as_chains, chain_estimates, measure_chains
from .estimate import Detail, Estimate, plain
from .estimators import reweighted
from .invariance import Invariance
from .lattice import lattice_quantities
from .observable import Observable, measured_over_orbit, with_own
from .quantities import Array, Quantities, target_quantities
from .slicing import sampled
from .strata import Strata


@dataclass(frozen=True)
class Measurement:
    """Observables by name with errors, and what the weights say about them.

    `log_z` is None for draws without weights (a chain, exact samples): they do not tell Z. `ess` is
    a fraction in (0, 1]. `mixing` is None but for chains, `invariance` where it was not tested.
    `failed` names the checks that failed: with any, the numbers must not be used.
    """

    observables: dict[str, Estimate]
    log_z: Estimate | None
    ess: float
    max_weight_share: float
    n: int
    failed: tuple[str, ...] = ()
    mixing: Mixing | None = None
    invariance: Invariance | None = None

    @property
    def reliable(self) -> bool:
        """Whether the numbers can be believed: no check failed."""
        return not self.failed

    @property
    def details(self) -> dict[str, Detail]:
        """What there is to say besides the estimates."""
        return {
            "ess": self.ess,
            "max_weight_share": self.max_weight_share,
            "reliable": self.reliable,
            "failed": list(self.failed),
            "invariance": self.invariance.as_json() if self.invariance else None,
            "n": self.n,
            **(self.mixing.details if self.mixing else {}),
        }

    def as_json(self) -> dict[str, Any]:
        """The part of a JSON report that is about measurements; what is not finite is null."""
        return {
            "observables": {name: value.as_json() for name, value in self.observables.items()},
            "log_z": None if self.log_z is None else self.log_z.as_json(),
            **plain(self.details),
        }

    @classmethod
    def from_json(cls, report: Mapping[str, Any]) -> "Measurement":
        """The measurement of a report; of chains without what it says of their mixing."""
        log_z, invariance = report["log_z"], report["invariance"]
        return cls(
            {name: Estimate.from_json(pair) for name, pair in report["observables"].items()},
            None if log_z is None else Estimate.from_json(log_z),
            ess=report["ess"],
            max_weight_share=report["max_weight_share"],
            n=report["n"],
            failed=tuple(report["failed"]),
            invariance=None if invariance is None else Invariance(**invariance),
        )


def measure(
    theory: Theory,
    couplings,
    configurations: Any,
    log_weights: ArrayLike | None = None,
    *,
    chains: int | None = None,
    orbit: bool = True,
    strata: Strata | None = None,
    own: Sequence[Observable] = (),
) -> Measurement:
    """Measure every observable on draws from (or weighted to) p ∝ e^{-S}.

    Arguments:
        configurations: (n, *theory.shape), in the order drawn; an array, or anything with a shape
            and slices that are arrays, of which one at a time is looked at.
        log_weights: (n,) log(e^{-S}/q) with q normalised; None for draws from p itself. Errors take
            the draws, or blocks of n/200 of them, as independent.
        chains: how many Markov chains the draws come from, without weights: one chain after the
            other, of equal lengths. Errors then allow for autocorrelations (chains.py).
        orbit: average every observable of a lattice theory over the Z₂ orbit first (orbit.py), so
            that for a symmetric theory ⟨M⟩ = 0 and P(M>0) = ½ come out exactly, without error. To
            be left out where it would hide that the draws have lost a well.
        strata: where the draws are from, if from several sources.
        own: observables of your own, measured beside those of the theory.

    Raises LatticeFlowsError for shapes that do not fit, fewer than two configurations, and numbers
    that are not finite.
    """
    phi = configurations if hasattr(configurations, "shape") else np.asarray(configurations)
    if phi.shape[1:] != tuple(theory.shape):
        raise LatticeFlowsError(
            f"configurations of shape {phi.shape[1:]} do not fit the lattice {tuple(theory.shape)}"
        )
    n, measured = len(phi), quantities(theory, own)
    if log_weights is None:
        log_z, ess, share = None, 1.0, 1.0 / n
    else:
        log_weights = weights.as_log_weights(log_weights, n)
        log_z = (strata.log_mean if strata else weights.log_mean_weight)(log_weights)
        ess, share = weights.kish_ess(log_weights), weights.max_weight_share(log_weights)

    with np.errstate(over="ignore", invalid="ignore"):  # refused below, with the number of them
        samples, sample_weights = sampled(
            lambda part: measured.samples(couplings, part, orbit),
            phi,
            log_weights,
            grouped=chains is None and strata is None,
        )
    names = [name for name in measured.long_names if name != "log_z"]
    # several sources are judged by the effective draws that they make up for one of them
    sources = len(strata.sizes) if strata else 1
    failed = weights.failed_checks(min(1.0, ess * sources), share, n // sources)
    mixing = None
    if chains is None:
        estimate = strata.reweighted if strata else reweighted
        found = estimate(measured.values, samples, sample_weights)
    else:
        chains = as_chains(chains, n, log_weights)
        found, mixing = measure_chains(measured.values, samples, chains, names)
        failed += () if mixing.is_reliable(n) else ("mixing",)
    failed += () if np.isfinite([one.stderr for one in found]).all() else ("errors",)
    return Measurement(
        observables=dict(zip(names, found, strict=True)),
        log_z=log_z,
        ess=ess,
        max_weight_share=share,
        n=n,
        failed=failed,
        mixing=mixing,
    )


def expectation(
    theory: Theory,
    couplings: Any,
    configurations: Any,
    log_weights: ArrayLike | None,
    function: Callable[[Array], ArrayLike],
    *,
    chains: int | None = None,
    orbit: bool = True,
    strata: Strata | None = None,
) -> Estimate | list[Estimate]:
    """⟨f⟩ with its error, of f: configurations (n, *shape) -> (n,), or (n, k) for k estimates.

    Arguments and errors as of `measure`.
    """
    dimensions = set()

    def noted(phi: Array) -> ArrayLike:
        found = function(phi)
        dimensions.add(np.ndim(found))
        return found

    one = Observable("average", noted)
    samples, sample_weights = sampled(
        lambda part: measured_over_orbit(theory, couplings, part, one.measured, orbit),
        configurations,
        log_weights,
        grouped=chains is None and strata is None,
    )
    if chains is None:
        estimate = strata.reweighted if strata else reweighted
        found = estimate(lambda averages: averages, samples, sample_weights)
    else:
        chains = as_chains(chains, len(samples), log_weights)
        found = chain_estimates(lambda averages: averages, samples, chains)
    return list(found) if max(dimensions) > 1 else found[0]


def quantities(theory: Theory, own: Sequence[Observable] = ()) -> Quantities:
    """What is measured on `theory`, observables of your `own` among it."""
    on_lattice = isinstance(theory, LatticeTheory)
    known = lattice_quantities(theory) if on_lattice else target_quantities(theory)
    return with_own(known, theory, own)


def exact_answers(
    theory: Theory, couplings: Any, own: Sequence[Observable] = ()
) -> dict[str, Any] | None:
    """The exact value of every observable that has one, by name; None where none is known.

    What is lost in rounding errors is NaN, and then there is a NAME_bound.
    """
    exact = theory.exact(couplings)
    return None if exact is None else answers_of(exact, own)


def answers_of(
    exact: ExactAnswers | TensorRenormalization, own: Sequence[Observable] = ()
) -> dict[str, Any]:
    """What `exact_answers` are made of."""
    return {**exact.observables(), **{one.name: one.answer(exact) for one in own if one.exact}}
