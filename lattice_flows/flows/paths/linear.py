"""The linear path, f_t = (1-t) f₀ + t f₁."""

from dataclasses import dataclass

from lattice_flows.flows.params import Params
from lattice_flows.flows.paths.path import Path
from theories.shapes import Configuration, Point, Scalar


@dataclass(frozen=True)
class LinearPath(Path):
    """The linear path; it has no parameters."""

    def energy(self, params: Params, t: Scalar, phi: Configuration, couplings: Point) -> Scalar:
        base, target = self.ends(params, phi, couplings)
        return (1 - t) * base + t * target

    def rate(self, params: Params, t: Scalar, phi: Configuration, couplings: Point) -> Scalar:
        base, target = self.ends(params, phi, couplings)
        return target - base
