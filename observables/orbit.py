"""Averages over the Z₂ orbit {φ, -φ}: the relative weight of the two signs is known, not sampled.

Given that either φ or -φ was drawn from p, it was φ with probability

    π(φ) = e^{-S(φ)} / (e^{-S(φ)} + e^{-S(-φ)}),

so O may be replaced by its conditional expectation Ō(φ) = π O(φ) + (1-π) O(-φ). E_p[Ō] = E_p[O] for
every action, symmetric or not, and Ō fluctuates no more than O (Rao-Blackwell): how often a sampler
visits each well then no longer shows in the odd observables. Right for every ensemble that targets
p with its weights.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from theories import LatticeTheory
from theories.shapes import Arrays, Point

PerDraw = Float[np.ndarray, " n"]


def actions(
    theory: LatticeTheory, couplings: Point, configurations: Float[Arrays, " n *shape"]
) -> PerDraw:
    """S of each configuration, in float64 on the host.

    The definition of `LatticeTheory`: stiffness Σ_{x,μ} (φ_x - φ_{x+μ})² + Σ_x potential(φ_x).
    It is written again here because jax would compute it in float32 unless told otherwise, and the
    difference S(-φ) - S(φ) of two large numbers is what decides between the wells.
    """
    phi = np.asarray(configurations, dtype=np.float64)
    couplings = couplings._make(map(float, couplings))
    axes = range(1, phi.ndim)
    bonds = sum((phi - np.roll(phi, -1, axis)) ** 2 for axis in axes)
    density = theory.stiffness(couplings) * bonds + theory.potential(phi, couplings)
    return np.asarray(density, dtype=np.float64).sum(axis=tuple(axes))


def orbit_average(
    of_phi: Float[np.ndarray, " n *k"],
    of_minus_phi: Float[np.ndarray, " n *k"],
    action: PerDraw,
    action_of_minus: PerDraw,
) -> Float[np.ndarray, " n *k"]:
    """Ō of each configuration, from O (one number or several) and S at φ and at -φ."""
    keep = expit(action_of_minus - action).reshape(-1, *(1,) * (of_phi.ndim - 1))
    return keep * of_phi + (1 - keep) * of_minus_phi
