"""The observables of a lattice theory."""

from typing import Any

import numpy as np
from jaxtyping import Num

from theories import LatticeTheory

from .magnetization import binder_cumulant, magnetization, susceptibility
from .orbit import actions, orbit_average
from .quantities import LOG_Z, Array, Quantities

LONG_NAMES = {
    "magnetization": "magnetization <M>, M = sum of phi over the sites / V",
    "abs_magnetization": "absolute magnetization <|M|>",
    "susceptibility": "susceptibility V (<M^2> - <M>^2)",
    "susceptibility_abs": "susceptibility V (<M^2> - <|M|>^2)",
    "binder_cumulant": "Binder cumulant 1 - <M^4> / (3 <M^2>^2)",
    "phi2": "mean of phi^2 over the sites",
    "phi4": "mean of phi^4 over the sites",
    "action_density": "action per site <S> / V",
    "positive_mode_weight": "probability of a positive magnetization P(M > 0)",
    "log_z": LOG_Z,
}
SYMBOLS = {
    "magnetization": r"\langle M\rangle",
    "abs_magnetization": r"\langle |M|\rangle",
    "susceptibility": r"\chi",
    "susceptibility_abs": r"\chi_{|M|}",
    "binder_cumulant": r"U",
    "phi2": r"\langle\phi^2\rangle",
    "phi4": r"\langle\phi^4\rangle",
    "action_density": r"\langle S\rangle/V",
    "positive_mode_weight": r"P(M>0)",
    "log_z": r"\log Z",
}


def lattice_quantities(theory: LatticeTheory) -> Quantities:
    """The observables of `theory`. A configuration with M = 0 counts half in P(M>0)."""

    def samples(couplings: Any, phi: Array, orbit: bool) -> Array:
        """(n, 8): M |M| M² M⁴ φ² φ⁴ S/V [M>0]."""
        m = magnetization(phi)
        s, s_minus = (actions(theory, couplings, sign * phi) for sign in (1, -1))
        positive = np.heaviside(m, 0.5)
        squares = phi.reshape(len(phi), -1) ** 2

        def averaged(of_phi: Array, of_minus_phi: Array) -> Array:
            return orbit_average(of_phi, of_minus_phi, s, s_minus) if orbit else of_phi

        return np.stack(
            [
                averaged(m, -m),
                np.abs(m),
                m**2,
                m**4,
                squares.mean(axis=1),
                (squares**2).mean(axis=1),
                averaged(s, s_minus) / theory.sites,
                averaged(positive, 1 - positive),
            ],
            axis=1,
        )

    def values(averages: Num[np.ndarray, "... k"]) -> Num[np.ndarray, "... p"]:
        m, abs_m, m2, m4, phi2, phi4, action, positive = np.moveaxis(averages, -1, 0)
        return np.stack(
            [
                m,
                abs_m,
                susceptibility(m2, m, theory.sites),
                susceptibility(m2, abs_m, theory.sites),
                binder_cumulant(m4, m2),
                phi2,
                phi4,
                action,
                positive,
            ],
            axis=-1,
        )

    return Quantities(LONG_NAMES, SYMBOLS, samples, values, action_density=6)
