"""How far draws are from exact samples, and from the modes.

    energy distance       D²(p, q) = 2 E|X-Y| - E|X-X'| - E|Y-Y'|
    sliced Wasserstein    SW² = E_θ W₂²(θ·X, θ·Y),    θ uniform on the unit sphere
    Hausdorff             H = max_k min_i |μ_k - x_i|

X, X' from p, Y, Y' from q, |·| Euclidean. D² (Székely & Rizzo, J. Stat. Plan. Inference 143, 1249
(2013)) is 0 for equal densities alone. Of sorted projections W₂ is the root mean square difference
(Bonneel et al., J. Math. Imaging Vis. 51, 22 (2015)). H is the directed Hausdorff distance from the
centres of the modes to the draws, as Máté & Fleuret's program (arXiv:2301.07388, Table 1) has it:
large where a mode is missed. The other direction, from the draws to the centres, would say how far
out a mode's draws lie, which no sampler is to be blamed for; the two distances above see it.
"""

import numpy as np
from jaxtyping import Float, Real
from scipy.spatial.distance import cdist, pdist

from theories.shapes import Arrays

MOST = 2048
"""Draws that are compared: the energy distance costs their number squared."""
_DIRECTIONS = 128


def energy_distance(x: Real[Arrays, " n *shape"], y: Real[Arrays, " m *shape"]) -> float:
    """D² of two samples, at least two draws each.

    Without bias: 0 on average, and thus as often negative as not, for samples of one density.
    """
    x, y = _flat(x), _flat(y)
    return float(2 * np.mean(cdist(x, y)) - np.mean(pdist(x)) - np.mean(pdist(y)))


def sliced_wasserstein(
    x: Real[Arrays, " n *shape"], y: Real[Arrays, " n *shape"], rng: np.random.Generator
) -> float:
    """SW of two samples of the same size, over 128 random directions.

    In the units of x. Two samples of one density are not 0 apart: of order n^{-1/2}, and n^{-1/4}
    where it falls into separate modes, whose shares fluctuate (0.6 for 2048 draws of gmm-2).
    """
    x, y = _flat(x), _flat(y)
    directions = rng.normal(size=(x.shape[1], _DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    apart = np.sort(x @ directions, axis=0) - np.sort(y @ directions, axis=0)
    return float(np.sqrt(np.mean(apart**2)))


def hausdorff(centres: Real[Arrays, " K *shape"], draws: Real[Arrays, " n *shape"]) -> float:
    """The largest distance from a centre to the draw nearest to it."""
    return float(cdist(_flat(centres), _flat(draws)).min(axis=1).max())


def _flat(sample: Real[Arrays, " n *shape"]) -> Float[np.ndarray, "n d"]:
    sample = np.asarray(sample, dtype=np.float64)
    return sample.reshape(len(sample), -1)
