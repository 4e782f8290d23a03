"""The continuum spectrum of H = p²/2M + V(x), ħ = 1, on a sinc grid.

With x_i = ih the kinetic energy is T_ii = π²/(6Mh²), T_ij = (-1)^{i-j} / (M h² (i-j)²) (Colbert and
Miller, J. Chem. Phys. 96 (1992) 1982, eq. (A7)) and the potential is diagonal; the error falls
exponentially with the spacing and with the size of the box, and both are refined until the
energies stand still.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from .double_well import DoubleWell, DoubleWellCouplings
from .errors import LatticeFlowsError
from .quadrature import Grid

MAX_POINTS = 3000


def spectrum(
    potential: Callable[[Grid], Grid],
    mass: float,
    count: int,
    *,
    half_width: float = 4.0,
    tolerance: float = 1e-11,
) -> Float[np.ndarray, " {count}"]:
    """The lowest `count` energies of H = p²/2M + V, ascending, to about `tolerance` relative.

    `potential` is elementwise and grows at both ends; `half_width` starts the search for the box.
    Raises LatticeFlowsError if the energies do not settle.
    """
    points, previous = 4 * count + 40, None
    while points <= MAX_POINTS:
        x = np.linspace(-half_width, half_width, points)
        energies = np.linalg.eigvalsh(_hamiltonian(potential(x), mass, x[1] - x[0]))[:count]
        # Against the largest matrix element rounding errors are no smaller than this.
        scale = max(1.0, float(np.max(np.abs(energies))))
        if previous is not None and np.max(np.abs(energies - previous)) < tolerance * scale:
            return energies
        previous = energies
        # A box wider by 1.3 on a grid finer by 1.2.
        half_width, points = 1.3 * half_width, int(1.56 * points)
    raise LatticeFlowsError(
        f"the lowest {count} energies do not settle on {MAX_POINTS} grid points; ask for fewer"
    )


def energies(
    theory: DoubleWell, couplings: DoubleWellCouplings, count: int
) -> Float[np.ndarray, " {count}"]:
    """The lowest `count` energies of the double well's Hamiltonian, H = p²/2M + V(x).

    Raises LatticeFlowsError for invalid couplings.
    """
    theory.validate(couplings)
    return spectrum(lambda x: theory.continuum_potential(x, couplings), couplings.mass, count)


def _hamiltonian(
    potential: Grid, mass: float, spacing: float
) -> Float[np.ndarray, "points points"]:
    steps = np.arange(len(potential))
    distances = np.subtract.outer(steps, steps)
    squares = np.where(distances == 0, 6 / np.pi**2, distances.astype(float) ** 2)
    kinetic = (-1.0) ** distances / squares / (mass * spacing**2)
    # The diagonal above is (1/Mh²) π²/6, as it should be.
    return kinetic + np.diag(potential)
