"""Base densities, by name."""

from lattice_flows.base.base import Base as Base
from lattice_flows.base.gaussian import Gaussian as Gaussian
from lattice_flows.base.mean_field import MeanField as MeanField
from lattice_flows.base.ultralocal import GeneralisedGaussian as GeneralisedGaussian
from lattice_flows.base.ultralocal import Ultralocal as Ultralocal
from theories import Theory
from theories.errors import LatticeFlowsError

BASES = ("mean-field", "ultralocal", "gaussian")


def make_base(name: str, theory: Theory, ranges) -> Base:
    """The base `name` for `theory`, with the couplings it may depend on.

    Raises LatticeFlowsError for a base that needs a quartic term where the theory has none.
    """
    if name == "gaussian":
        return Gaussian(theory)
    if theory.quartic(theory.from_values()) == 0:
        raise LatticeFlowsError(f"{theory.name} has no quartic term: use --base gaussian")
    return MeanField(theory, tuple(ranges.items())) if name == "mean-field" else Ultralocal(theory)
