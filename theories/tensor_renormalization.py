"""log Z of a scalar field theory on a large torus, by tensor renormalisation with bond weights.

The field of each site of S = a Σ (φ_x - φ_{x+μ})² + Σ v(φ_x) is put on n Gauss nodes x_i, of
weights ω_i that hold e^{-v}. The matrix of a bond is positive, so it has a square root A:

    B_ij = (ω_i ω_j)^{1/4} e^{-a (x_i - x_j)²} = Σ_k A_ik A_jk,
    T_ldru = Σ_i A_il A_id A_ir A_iu,     Z = the contraction of one T at each site,

with bonds to the left, down, right and up. Only the error of the Gauss rule is made so far.

One step of the renormalisation (Levin & Nave, PRL 99, 120601) splits the tensors of one sublattice
along one diagonal and those of the other along the other diagonal, T = U σ V. It keeps the χ
largest singular values and contracts the four halves around every second plaquette. That leaves
half as many tensors, on a lattice turned by 45 degrees. Here the halves are U σ^{3/4} and
σ^{3/4} V, and σ^{-1/2} stays on the bond as its weight (Adachi, Okubo & Todo, PRB 105, L060402).
The first split is the same, but at the next ones T knows better what a bond is worth to the rest of
the lattice, and the error is far smaller at the same χ. The last 2 × 2 tensors are contracted
without error. Sides of q 2^k sites, q odd, begin with blocks of q sites, whose bonds are truncated
to eigenvectors of M M^t, M being the block (Xie et al., PRB 86, 045139). Kadoh et al.,
arXiv:1811.12376, treat φ⁴ theory in two dimensions by TRG, on Gauss-Hermite nodes.

The result is no bound: nothing limits what the truncations do. The error that is told is the change
of log Z from 2χ/3 to χ, four times that with blocks, and that from fewer nodes. It was larger than
the true error wherever the answer is known: the free field, the Ising model that two nodes are, and
tori of up to eight rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from .errors import LatticeFlowsError
from .gauss import gauss_nodes
from .shapes import Point

Matrix = Float[np.ndarray, "rows columns"]
Vector = Float[np.ndarray, " any"]
Half = Float[np.ndarray, "horizontal vertical new"]
Tensor = Float[np.ndarray, "left down right up"]

_CHI = (16, 24, 36, 54)
_KEPT_ON_BOND = -0.5  # the power of σ; with 0 it is the method of Levin and Nave
_ROUNDING = 1e-13  # singular values below this part of the largest one are rounding errors


class Network(NamedTuple):
    """e^log times the contraction of `copies` equal tensors, with weights on their bonds."""

    tensor: Tensor
    horizontal: Vector
    vertical: Vector
    copies: int
    log: float


class TensorRenormalization:
    """log Z of a lattice theory on a torus of two dimensions whose sides are even; float64.

    accuracy: χ grows through 16, 24, 36, 54 until log Z stands still to this. chi: a χ to use
    instead. nodes: of each site; so many that two fewer change less than the truncations do.

    Raises LatticeFlowsError for other lattices and for couplings that are invalid.
    """

    def __init__(
        self,
        theory: Any,
        couplings: Point,
        *,
        accuracy: float = 1e-5,
        chi: int | None = None,
        nodes: int = 14,
    ) -> None:
        if len(theory.shape) != 2 or any(side % 2 for side in theory.shape):
            raise LatticeFlowsError(
                f"tensor renormalisation is for tori of two even sides, not for {theory.shape}"
            )
        theory.validate(couplings)
        self.theory, self.couplings = theory, couplings._make(map(float, couplings))
        self._accuracy, self._chi, self._nodes = accuracy, chi, nodes

    @property
    def log_z(self) -> float:
        """log Z, with the measure Π dφ."""
        return self._found[0]

    @property
    def log_z_error(self) -> float:
        """What log Z errs by: an estimate."""
        return self._found[1]

    @property
    def chi(self) -> int:
        """The χ at which log Z stood still, or the largest."""
        return self._found[2]

    @cached_property
    def _found(self) -> tuple[float, float, int]:
        steps = _CHI if self._chi is None else (2 * self._chi // 3, self._chi)
        # Blocks are truncated without knowing the rest of the lattice.
        doubt = 1.0 if _power(self.theory.shape) == max(self.theory.shape) else 4.0
        values = [self._at(steps[0], self._nodes)]
        fewer = abs(values[0] - self._at(steps[0], self._nodes - 2))
        for chi in steps[1:]:
            values.append(self._at(chi, self._nodes))
            error = doubt * abs(values[-1] - values[-2]) + fewer
            if error < self._accuracy:
                break
        rounding = 1e-13 * (self.theory.sites + abs(values[-1]))
        return values[-1], error + rounding, steps[len(values) - 1]

    def observables(self) -> Mapping[str, Any]:
        """log Z, and what it may be off by: nothing else is known."""
        return {"log_z": self.log_z, "log_z_accuracy": self.log_z_error}

    def _at(self, chi: int, nodes: int) -> float:
        return _contract(_network(self.theory, self.couplings, chi, nodes), chi)


def _network(theory: Any, couplings: Any, chi: int, nodes: int) -> Network:
    """2^k x 2^k tensors, with the largest k there is: single sites, or blocks of them."""
    height, width = theory.shape
    power = _power(theory.shape)
    site = _site(theory, couplings, nodes)
    column = _stack(site, height // power, chi)
    block = _stack(column.transpose(1, 0, 3, 2), width // power, chi).transpose(1, 0, 3, 2)
    return Network(block, np.ones(block.shape[0]), np.ones(block.shape[1]), power**2, 0.0)


def _power(shape: tuple[int, int]) -> int:
    """The largest 2^k that divides both sides."""
    return min(side & -side for side in shape)


def _site(theory: Any, couplings: Any, nodes: int) -> Tensor:
    def potential(x: Any) -> Any:
        return theory.potential(x, couplings)

    a = float(theory.stiffness(couplings))
    x, log_w = gauss_nodes(potential, 2 * a, nodes, theory.is_symmetric(couplings))
    log_w = log_w - potential(x)
    bond = np.exp((log_w[:, None] + log_w) / 4 - a * (x[:, None] - x) ** 2)
    values, vectors = np.linalg.eigh(bond)
    kept = values > 1e-15 * values[-1]
    root = vectors[:, kept] * np.sqrt(values[kept])
    pairs = np.einsum("ia,ib->iab", root, root)
    return np.tensordot(pairs, pairs, (0, 0))


def _stack(one: Tensor, n: int, chi: int) -> np.ndarray:
    """n tensors on top of each other, with horizontal bonds of dimension `chi` at most."""
    stack = one
    for _ in range(n - 1):
        top = np.tensordot(stack, stack, ((2, 3), (2, 3)))  # left, down, left', down'
        low = np.tensordot(one, one, ((1, 2), (1, 2)))  # left, up, left', up'
        square = np.tensordot(top, low, ((1, 3), (1, 3))).transpose(0, 2, 1, 3)
        size = (len(stack), len(one))
        u = _split(square.reshape(np.prod(size), -1), chi)[0].reshape(*size, -1)
        low = np.tensordot(one, u, (2, 1))  # left, down, up, right of the stack, new right
        both = np.tensordot(stack, low, ((1, 2), (2, 3)))  # left, up, left, down, new right
        stack = np.tensordot(u, both, ((0, 1), (0, 2))).transpose(0, 2, 3, 1)
    return stack


def _contract(network: Network, chi: int) -> float:
    """log Z."""
    while network.copies > 4:
        network = _step(_normalised(network), chi)
    tensor, horizontal, vertical, _, log = _normalised(network)
    tensor = tensor * horizontal[:, None] * vertical
    row = np.tensordot(tensor, tensor, ((0, 2), (2, 0)))  # down, up, down', up'
    return log + float(np.log(np.sum(row * row.transpose(1, 0, 3, 2))))


def _step(network: Network, chi: int) -> Network:
    """Half as many tensors, on a lattice turned by 45 degrees."""
    tensor, horizontal, vertical, copies, log = network
    left_down, right_up, sigma = _halves(tensor, chi)
    left_up, right_down, tau = _halves(tensor.transpose(0, 3, 2, 1), chi)
    # Around a plaquette: its lower and its upper edge, then both.
    weighted = right_up * horizontal[:, None, None]
    low = np.tensordot(weighted, left_up, (0, 0)) * vertical[:, None, None, None]
    weighted = right_down * horizontal[:, None, None]
    high = np.tensordot(weighted, left_down, (0, 0)) * vertical[:, None]
    # low: up on the left, new left, up on the right, new down. high: the same, up to down.
    tensor = np.tensordot(low, high, ((0, 2), (0, 2))).transpose(0, 1, 3, 2)
    weights = sigma**_KEPT_ON_BOND, tau**_KEPT_ON_BOND
    return Network(tensor, *weights, copies // 2, log)


def _halves(tensor: Tensor, chi: int) -> tuple[Half, Half, Vector]:
    """The halves (left, down) and (right, up) of a tensor, and σ."""
    size = tensor.shape[:2]
    u, sigma, vt = _split(tensor.reshape(np.prod(size), -1), chi)
    power = sigma ** ((1 - _KEPT_ON_BOND) / 2)
    return (u * power).reshape(*size, -1), (vt.T * power).reshape(*size, -1), sigma


def _split(matrix: Matrix, chi: int) -> tuple[np.ndarray, Vector, np.ndarray]:
    """U, σ and V^t of the `chi` largest singular values.

    Of a large matrix they are found by iterating a subspace of twice that dimension
    (Halko, Martinsson & Tropp, SIAM Rev. 53, 217).
    """
    if len(matrix) > 4 * chi:
        basis = np.random.default_rng(0).standard_normal((matrix.shape[1], 2 * chi))
        for _ in range(3):
            basis = np.linalg.qr(matrix.T @ np.linalg.qr(matrix @ basis)[0])[0]
        u, sigma, vt = np.linalg.svd(matrix @ basis, full_matrices=False)
        vt = vt @ basis.T
    else:
        u, sigma, vt = np.linalg.svd(matrix)
    kept = int(np.sum(sigma[:chi] > _ROUNDING * sigma[0]))
    return u[:, :kept], sigma[:kept], vt[:kept]


def _normalised(network: Network) -> Network:
    """The same contraction, with the largest tensor element and the largest weights 1."""
    tensor, horizontal, vertical, copies, log = network
    scales = np.abs(tensor).max(), horizontal.max(), vertical.max()
    log += copies * float(np.sum(np.log(scales)))
    return Network(tensor / scales[0], horizontal / scales[1], vertical / scales[2], copies, log)
