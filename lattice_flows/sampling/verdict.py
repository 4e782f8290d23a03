"""What exact answers or reference draws say of a flow: the checks of `evaluate`.

Reverse figures know only what the flow draws. These know p:

    forward_ess   the effective draws that n draws of the flow stand for, by the forward ESS, are
                  fewer than the weights' own gate asks for (observables/weights.py): where the flow
                  misses a part of p, the reverse ESS does not tell, the forward ESS does
    not_finite    log q is not finite at a sample of p, or of a draw once the solver's steps are
                  halved, or log Z is not, integrated along the flow: it diverges there
    log_z         log Z is 4σ or more from the exact one
    exact, hmc    an observable is further from the exact answer, or from that of HMC, than the
                  largest of all of them would be in one of 100 evaluations of a right flow

For k observables with errors σ the last is max |O - O_ref|/σ beyond the two-sided quantile of
1 - 0.99^{1/k} (Šidák) of Student's t, with as many degrees of freedom as the error has (blocks of
the jackknife).
"""

from collections.abc import Mapping

import numpy as np
from scipy.stats import t as t_distribution

from observables import Estimate, Measurement
from observables.estimators import BLOCKS
from observables.weights import failed_checks

FALSE_ALARM = 0.01
LOG_Z_ERRORS = 4.0
_ROUNDING = 1e-5  # of log Z, in single precision
_UNSEEN = 10.0  # a probability of so many effective draws is seen all but e^{-10} of times


def failed_forward(ess_forward: float | None, n: int) -> tuple[str, ...]:
    """`forward_ess` where n draws at this forward ESS would not pass the gate of weights.

    `not_finite` where there is none.
    """
    if ess_forward is None:
        return ("not_finite",)
    return ("forward_ess",) if failed_checks(ess_forward, 0.0, n) else ()


def failed_log_z(log_z: Estimate, exact: Estimate) -> tuple[str, ...]:
    """`log_z` where it is 4σ or more from the exact one; its error is what that may be off by."""
    error = float(np.hypot(log_z.stderr, exact.stderr))
    allowed = LOG_Z_ERRORS * error + _ROUNDING * max(1.0, abs(exact.value))
    return () if abs(log_z.value - exact.value) < allowed else ("log_z",)


def largest_pull(
    measurement: Measurement, reference: Mapping[str, Estimate]
) -> tuple[float, str, float]:
    """The largest |O - O_ref|/σ, whose it is, and the threshold for the largest of all.

    What has no error, a symmetry's value or a mode never drawn, may differ by what the effective
    draws could not have seen. A reference that is NaN, lost in rounding errors, judges nothing, nor
    does one that is missing; an estimate that is NaN agrees with nothing.
    """
    effective = measurement.ess * measurement.n
    pulls = {}
    for name, found in measurement.observables.items():
        known = reference.get(name)
        if known is None or np.isnan(known.value):
            continue
        error = float(np.hypot(found.stderr, known.stderr))
        distance = abs(found.value - known.value)
        if np.isnan(found.value):
            pulls[name] = np.inf
        elif error > 0:
            pulls[name] = distance / error
        else:
            pulls[name] = 0.0 if distance <= _UNSEEN / effective else np.inf
    if not pulls:
        return 0.0, "none", np.inf
    each = 1 - (1 - FALSE_ALARM) ** (1 / len(pulls))
    # of two draws or so no error is known well enough to be judged by: other checks say that
    threshold = t_distribution.isf(each / 2, max(1.0, min(BLOCKS, effective) - 1))
    worst = max(pulls, key=lambda name: pulls[name])
    return pulls[worst], worst, float(threshold)
