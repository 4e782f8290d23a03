"""Base densities, by name."""

from collections.abc import Mapping
from math import sqrt

from lattice_flows.flows.base.base import Base as Base
from lattice_flows.flows.base.gaussian import Gaussian as Gaussian
from lattice_flows.flows.base.massive import Massive as Massive
from lattice_flows.flows.base.mean_field import MeanField as MeanField
from lattice_flows.flows.base.tempered import Tempered as Tempered
from lattice_flows.flows.base.tilted import Tilted as Tilted
from lattice_flows.flows.base.ultralocal import GeneralisedGaussian as GeneralisedGaussian
from lattice_flows.flows.base.ultralocal import Ultralocal as Ultralocal
from theories import LatticeTheory, Theory
from theories.errors import LatticeFlowsError
from theories.outside import imported, is_outside

Ranges = Mapping[str, tuple[float, float]]


def make_base(
    name: str, theory: Theory, ranges: Ranges, curvature: float = 0.0, width: float = 1.0
) -> Base:
    """The base `name` for `theory`; `ranges` are the couplings that its parameters depend on.

    One from outside is called with theory and ranges. All but "normal" and "tempered" are for
    lattices; of the others all but "gaussian" need a potential beyond quadratic. "tempered" needs
    a temperature.
    """
    if is_outside(name):
        return imported(name)(theory, ranges)
    if name in ("normal", "tempered"):
        normal = GeneralisedGaussian(theory, 2.0, sqrt(2) * width)
        return normal if name == "normal" else Tempered(theory, normal)
    assert isinstance(theory, LatticeTheory)  # Config refuses other theories
    if name == "gaussian":
        return Gaussian(theory)
    if theory.is_free:
        raise LatticeFlowsError(f'{theory.name} is a free field: use `base="gaussian"`')
    if name == "massive":
        return Massive(theory, tuple(ranges.items()))
    if name == "ultralocal":
        return Ultralocal(theory, curvature)
    return MeanField(theory, tuple(ranges.items()))
