"""Z₂ where the couplings break it: the symmetrised action and orbit resampling.

A strictly odd flow has an even density q_s. It is trained on the even target

    S_s(φ) = -log ½(e^{-S(φ)} + e^{-S(-φ)}),

which has the partition function of S, and in which no well can be lost to the other. A draw φ of
q_s is then kept with probability π(φ) = e^{-S(φ)}/(e^{-S(φ)} + e^{-S(-φ)}) and flipped otherwise.
The result has the density q(φ) = 2 q_s(φ) π(φ) and the weight

    w = e^{-S(φ)}/q(φ) = e^{-S_s(φ)}/q_s(φ),

the same for φ and -φ: the relative weight of the wells is exact whatever the flow is worth.
"""

import jax
import jax.numpy as jnp

from theories import Theory
from theories.shapes import Configuration, Point, Scalar


def symmetric_action(theory: Theory, phi: Configuration, couplings: Point) -> Scalar:
    """S_s of one configuration; S itself where no coupling is odd."""
    action = theory.action(phi, couplings)
    if not theory.z2_odd:
        return action
    log_two = jnp.log(jnp.asarray(2, action.dtype))
    return log_two - jnp.logaddexp(-action, -theory.action(-phi, couplings))


def log_keep_probability(theory: Theory, phi: Configuration, couplings: Point) -> Scalar:
    """log π(φ) of one configuration."""
    return jax.nn.log_sigmoid(theory.action(-phi, couplings) - theory.action(phi, couplings))


def resample_orbit(
    theory: Theory, key: jax.Array, phi: Configuration, couplings: Point
) -> Configuration:
    """φ or -φ of one configuration, with the probabilities of the action."""
    keep = jnp.log(jax.random.uniform(key, (), phi.dtype)) < log_keep_probability(
        theory, phi, couplings
    )
    return jnp.where(keep, phi, -phi)
