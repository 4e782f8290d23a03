"""log Z of large tori against transfer matrices, the Ising model, the free field and itself."""

from __future__ import annotations

import numpy as np
import pytest

from theories import (
    FreeField,
    FreeFieldCouplings,
    LatticeFlowsError,
    Phi4,
    Phi4Couplings,
    Phi4Hopping,
    Phi4HoppingCouplings,
    StripSolution,
    TensorRenormalization,
)
from theories.tensor_renormalization import Network, _contract

MASSIVE = Phi4Couplings(m=4.0, lam=6.975, alpha=0.0)
SHIFTED = Phi4Couplings(m=1.0, lam=0.5, alpha=0.1)


@pytest.mark.parametrize(
    ("theory", "couplings"),
    [
        (Phi4((4, 4)), MASSIVE),
        (Phi4((4, 6)), MASSIVE),
        (Phi4((6, 4)), SHIFTED),
        (Phi4((12, 2)), SHIFTED),
        (Phi4Hopping((4, 4)), Phi4HoppingCouplings(0.27, 0.02)),
        (Phi4Hopping((4, 8)), Phi4HoppingCouplings(0.29, 0.02)),
    ],
)
@pytest.mark.parametrize("chi", [16, 24])
def test_small_tori(theory, couplings, chi):
    """The strip's transfer matrix knows them; the error that is told holds the difference."""
    strip = StripSolution(theory, couplings, accuracy=1e-7)
    found = TensorRenormalization(theory, couplings, chi=chi)
    assert abs(found.log_z - strip.log_z) <= found.log_z_error + strip.log_z_error


def ising(length: int, coupling: float) -> float:
    """ln Z of L × L Ising spins, L even, on a torus: Kaufman, Phys. Rev. 76, 1232."""
    r = np.arange(2 * length)
    argument = np.cosh(2 * coupling) / np.tanh(2 * coupling) - np.cos(np.pi * r / length)
    gamma = np.arccosh(argument)
    gamma[0] = 2 * coupling + np.log(np.tanh(coupling))
    odd, even = length / 2 * gamma[1::2], length / 2 * gamma[0::2]
    terms = [
        np.prod(2 * np.cosh(odd)),
        np.prod(2 * np.sinh(odd)),
        np.prod(2 * np.cosh(even)),
        np.prod(2 * np.sinh(even)),
    ]
    volume = length * length
    return volume / 2 * np.log(2 * np.sinh(2 * coupling)) + np.log(np.sum(terms) / 2)


@pytest.mark.parametrize("coupling", [0.3, 0.4406867935, 0.5])
def test_the_ising_model(coupling):
    """Two nodes are spins; 16 × 16 of them, at the critical coupling too."""
    bond = np.exp(coupling * np.array([[1.0, -1.0], [-1.0, 1.0]]))
    values, vectors = np.linalg.eigh(bond)
    root = vectors * np.sqrt(values)
    tensor = np.einsum("il,id,ir,iu->ldru", root, root, root, root)
    network = Network(tensor, np.ones(2), np.ones(2), 256, 0.0)
    assert _contract(network, 16) == pytest.approx(ising(16, coupling), abs=2e-4)
    assert _contract(network, 32) == pytest.approx(ising(16, coupling), abs=1e-6)


def test_the_free_field():
    theory, couplings = FreeField((16, 16)), FreeFieldCouplings(2.0)
    found = TensorRenormalization(theory, couplings, chi=32)
    assert found.log_z == pytest.approx(theory.exact(couplings).log_z, abs=found.log_z_error)
    assert found.log_z_error < 1e-3


def test_large_tori_are_alike():
    """Far from the transition log Z per site does not know the size: ξ is 1.5 sites here."""
    small, large = (TensorRenormalization(Phi4((n, n)), MASSIVE, chi=24) for n in (16, 32))
    assert large.log_z / 1024 == pytest.approx(small.log_z / 256, abs=1e-6)
    assert large.log_z_error < 1e-4


def test_what_is_refused():
    with pytest.raises(LatticeFlowsError, match="two even sides"):
        TensorRenormalization(Phi4((16, 15)), MASSIVE)
    with pytest.raises(LatticeFlowsError, match="two even sides"):
        TensorRenormalization(Phi4((16,)), MASSIVE)
    with pytest.raises(LatticeFlowsError, match="lam must be greater than 0"):
        TensorRenormalization(Phi4((16, 16)), Phi4Couplings(lam=-1.0))
