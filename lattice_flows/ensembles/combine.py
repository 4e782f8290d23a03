"""All draws of several ensembles, at different couplings, weighted to one set of couplings.

A draw φ of ensemble k has density q_k and the weight w = e^{-S_k(φ)}/q_k(φ). At couplings θ it gets

    W_θ(φ) = a_k(φ) e^{-S_θ(φ)} / (n_k q_k(φ)),      a_k = c_k e^{-S_k}/Z_k / Σ_l c_l e^{-S_l}/Z_l.

Whatever positive numbers stand for the Z_k, the a_k sum to 1, so that Σ W_θ O over the draws of all
ensembles has the expectation ∫ O e^{-S_θ}: this is multiple importance sampling with the balance
heuristic (Veach & Guibas, SIGGRAPH 95). As the expectation does not depend on the Z_k, their errors
do not matter at first order, and those that the weights of each flow give will do: nothing is
solved for, log Z is absolute. MBAR (Shirts & Chodera, J. Chem. Phys. 129, 124105, 2008), whose
weights these are for draws of p_k itself, has to solve for the Z_k. c_k is the number of effective
draws of ensemble k.

The weights of a good flow hardly fluctuate, so that each ensemble alone knows its own Z_k better
than Σ W_{θ_k} does. Both have the same expectation: their differences are controls
(observables/strata.py) that make up for it, for log Z and for every observable.

Errors are those of chance. What one flow gets wrong at all couplings (configurations that it hardly
ever draws, too few steps of the solver) is no smaller for all draws together, and shows sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

import observables
from lattice_flows.ensembles.ensemble import Ensemble
from observables import (
    Estimate,
    Measurement,
    Observable,
    Strata,
    is_reliable,
    kish_ess,
    log_mean_weight,
    max_weight_share,
)
from observables.orbit import actions
from theories import LatticeFlowsError, LatticeTheory, Theory


@dataclass(frozen=True, eq=False)
class Reweighted:
    """The draws of several ensembles at one set of couplings; measured as an `Ensemble` is.

    log_weights: (N,), their mean weight is Z; those of the orbit {φ, -φ} if `orbit`.
    """

    theory: Theory
    couplings: Any
    configurations: NDArray[np.float64]
    log_weights: NDArray[np.float64]
    orbit: bool
    strata: Strata

    def measure(self, own: Sequence[Observable] = ()) -> Measurement:
        """All observables with errors; `ess` and `n` are of all draws together."""
        return observables.measure(*self._draws, orbit=self.orbit, strata=self.strata, own=own)

    def derivatives(
        self, names: Sequence[str], own: Sequence[Observable] = ()
    ) -> dict[str, Estimate]:
        """Derivatives of all observables with respect to the couplings `names`, by name."""
        return observables.derivatives(
            *self._draws, names, orbit=self.orbit, strata=self.strata, own=own
        )

    @property
    def _draws(self) -> tuple[Theory, Any, NDArray[np.float64], NDArray[np.float64]]:
        return self.theory, self.couplings, self.configurations, self.log_weights


@dataclass(frozen=True, eq=False)
class Pool:
    """The draws of several ensembles, for any couplings.

    couplings: those of the ensembles, in the order of the draws.
    log_density: (N,), log of e^{-S_θ}/(N W_θ), the same for every θ: the density that the draws
        have in effect, all together.
    """

    theory: Theory
    couplings: tuple[Any, ...]
    configurations: NDArray[np.float64]
    log_density: NDArray[np.float64]
    orbit: bool
    strata: Strata

    def at(self, couplings: Any) -> Reweighted:
        """All draws, weighted to `couplings`, which need not be those of an ensemble."""
        s = _actions(self.theory, couplings, self.configurations, self.orbit)
        return Reweighted(
            self.theory,
            couplings,
            self.configurations,
            -s - self.log_density,
            self.orbit,
            self.strata,
        )


def pool(ensembles: Sequence[Ensemble]) -> Pool:
    """The draws of `ensembles` of one theory together.

    Ensembles whose weights fail the gate are left out, if there are others: what the others say is
    right without them, and a few huge weights would spoil it.

    Raises LatticeFlowsError for none, for ensembles of several theories, and without log-weights.
    """
    if not ensembles or len({(e.theory, e.orbit) for e in ensembles}) > 1:
        raise LatticeFlowsError("only ensembles of one theory can be combined: draw them alike")
    theory, orbit = ensembles[0].theory, ensembles[0].orbit
    parts = [e for e in ensembles if _trusted(e)] or list(ensembles)
    phi = np.concatenate([e.configurations for e in parts])
    sizes = np.array([len(e) for e in parts])
    log_weights = [_log_weights(e) for e in parts]
    log_z = np.array([log_mean_weight(log_w).value for log_w in log_weights])
    log_counts = np.log(sizes) + np.log([kish_ess(log_w) for log_w in log_weights])
    log_p = np.stack([-_actions(theory, e.couplings, phi, orbit) for e in parts], axis=1) - log_z

    source = np.repeat(np.arange(len(parts)), sizes)
    excess = np.concatenate(log_weights) - log_z[source]
    log_share = np.log(sizes / sizes.sum())
    log_mixture = np.logaddexp.reduce(log_p + log_counts, axis=1)
    log_density = log_mixture - excess + (log_share - log_counts)[source]
    # Σ W_{θ_k}/Z_k by all draws, less that by the draws of k alone; of all k one is not independent
    controls = np.exp(log_p[:, :-1] - log_density[:, None])
    own = source < len(parts) - 1
    controls[own, source[own]] -= np.exp(excess - log_share[source])[own]
    return Pool(
        theory,
        tuple(e.couplings for e in parts),
        phi,
        log_density,
        orbit,
        Strata(tuple(map(int, sizes)), controls),
    )


def _log_weights(ensemble: Ensemble) -> NDArray[np.float64]:
    if ensemble.log_weights is None:
        raise LatticeFlowsError(
            "draws without log-weights cannot be combined, they do not tell Z: sample a flow"
        )
    return ensemble.log_weights


def _trusted(ensemble: Ensemble) -> bool:
    log_weights = _log_weights(ensemble)
    return is_reliable(kish_ess(log_weights), max_weight_share(log_weights), len(ensemble))


def _actions(
    theory: Theory, couplings: Any, phi: NDArray[np.float64], orbit: bool
) -> NDArray[np.float64]:
    """S of each configuration, (n, *shape) → (n,); if `orbit`, -log of Σ_± e^{-S(±φ)}.

    On the lattice in float64, else in jax's present precision.
    """
    if not isinstance(theory, LatticeTheory):
        return np.asarray(_traced_actions(theory, phi, couplings), dtype=np.float64)
    s = actions(theory, couplings, phi)
    return -np.logaddexp(-s, -actions(theory, couplings, -phi)) if orbit else s


@partial(jax.jit, static_argnums=0)
def _traced_actions(theory: Theory, phi: jax.Array, couplings: Any) -> jax.Array:
    return jax.vmap(theory.action, (0, None))(phi, couplings)
