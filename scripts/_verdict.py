"""Why a result must not be relied on, in words; and the exit code that says so."""

from math import isfinite
from typing import TYPE_CHECKING

from lattice_flows.scripts._command import UNRELIABLE, Failure
from lattice_flows.scripts._output import headline

if TYPE_CHECKING:
    from lattice_flows.ensembles.result import Measured
    from lattice_flows.sampling.evaluation import Forward
    from observables.mixing import Mixing

_MENDED = {
    "effective_draws": "too few effective draws: draw more, or train longer",
    "weight_share": "one draw has too much of the weight: draw more, or train longer",
    "overlap": "the flow overlaps too little with the target: train longer",
    "invariance": "moves that preserve the target change the draws, so the flow misses a part of "
    "it: train longer, or nearer to these couplings",
    "forward_ess": "the flow misses a part of the target: train longer, or nearer to these "
    "couplings",
    "not_finite": "the flow diverges, from samples of the target or with more steps: train longer, "
    "or with more --ode-steps",
    "log_z": "log Z is wrong: train longer, or with more --ode-steps",
    "exact": "an observable is wrong: train longer, or with more --ode-steps",
    "hmc": "an observable disagrees with HMC: train longer, or with more --ode-steps",
    "errors": "an error cannot be told: draw more",
}
"""What a failed check means and what may mend it."""


def check_reliable(*results: "Measured") -> None:
    """Leave with exit code 3 where a result must not be relied on."""
    if bad := [result for result in results if not result.reliable]:
        worst = max(bad, key=lambda result: (len(result.failed), -result.measurement.ess))
        raise Failure(f"unreliable: {_why(worst)}", UNRELIABLE)


def _why(result: "Measured") -> str:
    """What is wrong with an unreliable result, and what may mend it."""
    found = result.measurement
    if found.mixing and "mixing" in result.failed:
        return (
            f"{found.n} draws with {_mixing(found.mixing)} ({headline(result)}); draw more of each "
            "chain, or further apart (hmc --every)"
        )
    numbers = [
        f"effective sample size {found.ess:.2g} of {found.n} draws",
        f"largest weight {found.max_weight_share:.2g}",
    ]
    if moved := found.invariance:
        numbers.append(f"invariance {moved.statistic:.2g} ({moved.threshold:.2g} allowed)")
    forward: Forward | None = getattr(result, "forward", None)  # of an evaluation
    if forward and forward.ess is not None:
        numbers.append(f"forward ESS {forward.ess:.2g}")
    if forward and forward.not_finite:
        at = f"samples of p ({forward.source})"
        numbers.append(f"log q not finite at {at}: {forward.not_finite}")
    reasons = "; ".join(f"{name}: {_MENDED[name]}" for name in result.failed)
    return f"{', '.join(numbers)} ({headline(result)}); {reasons}"


def _mixing(found: "Mixing") -> str:
    tau, r_hat, agreement = (
        f"{number:.3g}" if isfinite(number) else "unknown"
        for number in (found.tau_int, found.r_hat, found.agreement)
    )
    frozen = f", {found.frozen_chains} frozen" if found.frozen_chains else ""
    return (
        f"an autocorrelation time of {tau}; R-hat {r_hat}, agreement of the chains "
        f"{agreement}{frozen}"
    )
