"""A path through the space of theories: the bonds first, then the local potential.

    f_t = b(t) stiffness Σ (φ_x - φ_{x+μ})² + s(t) Σ_x V(φ_x) + (1 - s(t)) f₀,

with b = t(2-t), s = t², V the one-site potential, whose odd couplings grow like t. From an
ultralocal base f₀ is a potential, too, and every f_t is the action of a theory. On the linear path
the wells of V deepen while the bonds are still weak, and the domains of independent sites freeze
in; here neighbours are aligned by the time the wells are deep.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from lattice_flows.flows.params import Params
from lattice_flows.flows.paths.path import Path
from theories import LatticeTheory
from theories.lattice import bond_energy
from theories.shapes import Configuration, Scalar


@dataclass(frozen=True)
class CouplingPath(Path):
    """The path for a lattice theory; it has no parameters."""

    def energy(self, params: Params, t: Scalar, phi: Configuration, couplings: Any) -> Scalar:
        theory = self.base.theory
        assert isinstance(theory, LatticeTheory)  # Config refuses others
        odd = {name: t * getattr(couplings, name) for name in theory.z2_odd}
        couplings = couplings._replace(**odd)
        base, action = self.ends(params, phi, couplings)
        stiffness = jnp.asarray(theory.stiffness(couplings), phi.dtype)
        bonds = stiffness * bond_energy(phi)
        local = t**2
        return t * (2 - t) * bonds + local * (action - bonds) + (1 - local) * base
