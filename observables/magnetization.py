"""The magnetization M = V⁻¹ Σ_x φ_x of configurations, and what is made of its moments."""

import numpy as np
from jaxtyping import Float

from theories.shapes import Arrays


def magnetization(configurations: Float[Arrays, " n *shape"]) -> Float[np.ndarray, " n"]:
    """M of each configuration."""
    configurations = np.asarray(configurations, dtype=np.float64)
    return configurations.reshape(len(configurations), -1).mean(axis=1)


def susceptibility(second_moment, first_moment, sites: int):
    """χ = V (⟨M²⟩ - ⟨M⟩²), or with ⟨|M|⟩ in place of ⟨M⟩ its variant for broken symmetry.

    The first counts the jumps between the two wells, the second the fluctuations inside one.
    """
    return sites * (second_moment - first_moment**2)


def binder_cumulant(fourth_moment, second_moment):
    """U = 1 - ⟨M⁴⟩ / (3 ⟨M²⟩²): 0 for a normal distribution, 2/3 for two sharp peaks at ±M."""
    return 1 - fourth_moment / (3 * second_moment**2)
