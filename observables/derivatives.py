"""Derivatives of observables with respect to couplings, from the draws at one set of couplings.

    ∂_θ⟨O⟩ = ⟨∂_θO⟩ - (⟨O ∂_θS⟩ - ⟨O⟩⟨∂_θS⟩),        ∂_θ log Z = -⟨∂_θS⟩

for p ∝ e^{-S}, and the chain rule for what is a function of several averages (χ, the Binder
cumulant). All of it is again a function of averages, so that the jackknife gives its errors, with
all covariances. Where configurations are averaged over φ → -φ (orbit.py), O, ∂_θS and O ∂_θS each
are: the orbit average of a product is not the product of orbit averages.

Exact derivatives are differences of exact answers.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Num
from numpy.typing import ArrayLike
from scipy.special import expit

from theories import LatticeTheory, StripSolution, Theory, seconds_of

from .chains import as_chains, chain_estimates
from .estimate import Estimate
from .estimators import reweighted
from .measure import exact_answers, quantities
from .observable import Observable
from .orbit import actions
from .quantities import Array, Quantities
from .slicing import sampled
from .strata import Strata

# Exact answers are good to about 1e-12, five-point differences of them then to about 1e-8: also
# with respect to an odd coupling, where a few thousandths make two wells change places.
_STEP = 3e-4
_STENCIL = {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}
_PATIENCE = 120.0  # seconds
# The step of a derivative in the complex plane: nothing is subtracted, so no step is too small.
_IMAGINARY = 1e-30


def derivative_names(
    theory: Theory, couplings: Sequence[str], own: Sequence[Observable] = ()
) -> dict[str, str]:
    """`d_NAME_d_COUPLING` of every observable and of log Z, and what files say that it is."""
    return {
        f"d_{name}_d_{coupling}": f"derivative with respect to {coupling} of the {long_name}"
        for coupling in couplings
        for name, long_name in quantities(theory, own).long_names.items()
    }


def derivatives(
    theory: Theory,
    couplings: Any,
    configurations: Any,
    log_weights: ArrayLike | None,
    names: Sequence[str],
    *,
    orbit: bool = True,
    strata: Strata | None = None,
    chains: int | None = None,
    own: Sequence[Observable] = (),
) -> dict[str, Estimate]:
    """The derivatives of all observables, log Z among them, with respect to the couplings `names`.

    Arguments as of `measure`; ∂_θS is computed in jax's present precision. Keys are those of
    `derivative_names`. Raises LatticeFlowsError as `jackknife` does.
    """
    measured = derivative_quantities(theory, names, own)
    samples, sample_weights = sampled(
        lambda part: measured.samples(couplings, part, orbit),
        configurations,
        log_weights,
        grouped=chains is None and strata is None,
    )
    if chains is None:
        estimate = strata.reweighted if strata else reweighted
        found = estimate(measured.values, samples, sample_weights)
    else:
        chains = as_chains(chains, len(samples), log_weights)
        found = chain_estimates(measured.values, samples, chains)
    return dict(zip(measured.long_names, found, strict=True))


def derivative_quantities(
    theory: Theory, names: Sequence[str], own: Sequence[Observable] = ()
) -> Quantities:
    """What is averaged for the derivatives with respect to the couplings `names`, and their values.

    samples: (n, (1+p)(1+k)), all products of 1, ∂_1S, …, ∂_pS with 1, A_1, …, A_k, those averages
    that the observables are made of.
    """
    measured, rows = quantities(theory, own), 1 + len(names)

    def products(theta: Any, phi: Array) -> Array:
        ones = np.ones((len(phi), 1))
        left = np.concatenate([ones, action_gradients(theory, theta, phi, names)], axis=1)
        right = np.concatenate([ones, measured.samples(theta, phi, False)], axis=1)
        return (left[:, :, None] * right[:, None, :]).reshape(len(phi), -1)

    def samples(theta: Any, phi: Array, orbit: bool) -> Array:
        if not (orbit and isinstance(theory, LatticeTheory)):
            return products(theta, phi)
        keep = expit(actions(theory, theta, -phi) - actions(theory, theta, phi))[:, None]
        return keep * products(theta, phi) + (1 - keep) * products(theta, -phi)

    def values(averages: Num[np.ndarray, "... k"]) -> Num[np.ndarray, "... p"]:
        table = averages.reshape(*averages.shape[:-1], rows, -1)
        a, slopes = table[..., :1, 1:], table[..., 1:, :1]
        changes = slopes * a - table[..., 1:, 1:]
        if measured.action_density is not None:
            changes[..., measured.action_density] += slopes[..., 0] / theory.sites
        along = _along(measured.values, a, changes)
        found = np.concatenate([along, -slopes], axis=-1)
        return found.reshape(*averages.shape[:-1], -1)

    return Quantities(derivative_names(theory, names, own), {}, samples, values)


def _along(function: Callable[[Any], Any], at: Array, direction: Array) -> Array:
    """The derivative of an analytic function along a direction: f(x + ihv)/h, its imaginary part.

    Exact but for rounding. Squire & Trapp, SIAM Rev. 40, 110 (1998).
    """
    return function(at + 1j * _IMAGINARY * direction).imag / _IMAGINARY


def action_gradients(theory: Theory, couplings: Any, phi: Array, names: Sequence[str]) -> Array:
    """∂S/∂θ of each configuration (n, *shape) for each coupling in `names`: (n, p)."""
    n = len(phi)
    padded = np.zeros((1 << (n - 1).bit_length(), *phi.shape[1:]))  # a few sizes are compiled
    padded[:n] = phi
    gradients = _gradients(theory, padded, type(couplings)(*map(float, couplings)))
    columns = [np.asarray(getattr(gradients, name), dtype=np.float64)[:n] for name in names]
    return np.stack(columns, axis=1)


@partial(jax.jit, static_argnums=0)
def _gradients(theory: Theory, phi: jax.Array, couplings: Any) -> Any:
    return jax.vmap(jax.grad(theory.action, argnums=1), (0, None))(phi, couplings)


def exact_derivatives(
    theory: Theory, couplings: Any, names: Sequence[str], own: Sequence[Observable] = ()
) -> dict[str, float] | None:
    """Exact derivatives by name; None where no exact answers are known, or none close by, and where
    they would take minutes.

    Of observables and log Z of order 1 they are good to 1e-6 and better.
    """
    found, measured = {}, quantities(theory, own).long_names
    exact = theory.exact(couplings)
    if isinstance(exact, StripSolution):  # which errs too much for steps as small as these
        if seconds_of(exact) * (1 + len(_STENCIL)) * len(couplings) > _PATIENCE:
            return None
        slopes = exact.derivatives()
        of = [(f"d_{name}_d_{k}", slopes[k].get(name)) for k in names for name in measured]
        return {name: float(pair[0]) for name, pair in of if pair is not None}
    for coupling in names:
        value = float(getattr(couplings, coupling))
        step = _STEP * (value if theory.facts()[coupling].positive else max(1.0, abs(value)))
        total: dict[str, float] = {}
        for multiple, weight in _STENCIL.items():
            moved = couplings._replace(**{coupling: value + multiple * step})
            answers = exact_answers(theory, type(couplings)(*map(float, moved)), own)
            if answers is None:
                return None
            for name in answers.keys() & measured:
                total[name] = total.get(name, 0.0) + weight / step * float(answers[name])
        found |= {f"d_{name}_d_{coupling}": total[name] for name in measured if name in total}
    return found
