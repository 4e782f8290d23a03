"""An anharmonic oscillator on a cycle: S = Σ (x_i - x_{i+1})² + a x² + g x⁶."""

from typing import Annotated, NamedTuple

from theories import Coupling, LatticeTheory


class Couplings(NamedTuple):
    a: Annotated[float, Coupling("a", "a, of the potential ax²")] = -1.0
    g: Annotated[float, Coupling("g", "g, of the potential gx⁶", positive=True)] = 0.05


class Anharmonic(LatticeTheory):
    name = "anharmonic"
    title = "anharmonic oscillator"
    Couplings = Couplings

    def potential(self, x, couplings):
        return couplings.a * x**2 + couplings.g * x**6

    def leading(self, couplings):
        return 6, couplings.g
