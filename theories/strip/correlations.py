"""Two fields on a strip.

    G(r, x) = ⟨φ_{0,0} φ_{r,x}⟩ = Tr [φ_0 T^r φ_x T^{L-r}] / Z

With T = T_P + T_Q of the states that are kept and the others (states.py) the trace has four
parts. P with P is a sum over pairs of states. Where one side is Q, T itself is applied to
Q φ_0 ψ_l, exactly. Q with Q is left out: it is max φ² Σ_Q ρ_j^L / Z at most.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from .states import StripStates


def two_point(states: StripStates, tolerance: float) -> tuple[Float[np.ndarray, "L W"], float]:
    """(G, error): G(r, x) for every displacement along and across the strip."""
    length, rows = states.length, states.rows
    width = rows.width
    count, left_out = states.leading(tolerance)
    rho = states.rho[:count]
    symmetry = states.symmetry
    kept = [
        (sector, members, states.parts(members))
        for sector in range(len(symmetry.signs))
        if len(members := states.members([sector], count))
    ]
    first, largest = rows.along(0, rows.x), float(np.max(np.abs(rows.x)))
    negligible = tolerance * states.excess / count
    elements = np.zeros((count, count))  # ⟨ψ_j| φ_0 |ψ_l⟩
    found = np.zeros((length, width))
    for l in range(count):
        ket = states.state(l)
        rest = (first * ket.reshape(rows.shape)).reshape(-1)
        found[0] += rho[l] ** length * _with_every_field(states, rest * ket)
        parts = symmetry.gather(rest)
        for sector, members, psi in kept:
            elements[members, l] = psi @ parts[sector]
            parts[sector] -= elements[members, l] @ psi
        rest = symmetry.spread(parts)
        for r in range(1, length):
            # All that is still to come is less than this; Q falls faster than ψ_l.
            if length * rho[l] ** (length - r) * largest * np.linalg.norm(rest) < negligible:
                break
            rest = states.apply(rest)
            here = _with_every_field(states, rest * ket)
            found[r] += rho[l] ** (length - r) * here
            found[length - r] += rho[l] ** (length - r) * np.roll(here[::-1], 1)
    moved, shift = elements, _shift(states, count)
    for x in range(width):
        overlaps = elements * moved
        for r in range(1, length):
            found[r, x] += rho**r @ overlaps @ rho ** (length - r)
        moved = shift.T @ moved @ shift
    bound = largest**2 * left_out + 2 * length * tolerance
    return found / states.excess, bound


def _with_every_field(
    states: StripStates, product: Float[np.ndarray, " states"]
) -> Float[np.ndarray, " W"]:
    """Σ φ_x product over all rows, for every x."""
    n, width = len(states.rows.x), states.rows.width
    left = width // 2
    halves = product.reshape(n**left, -1)
    sums = []
    for part, sites in ((halves.sum(axis=1), left), (halves.sum(axis=0), width - left)):
        part = part.reshape((n,) * sites)
        for i in range(sites):
            ahead = part.sum(axis=tuple(j for j in range(sites) if j != i))
            sums.append(float(states.rows.x @ ahead))
    return np.array(sums)


def _shift(states: StripStates, count: int) -> Float[np.ndarray, "P P"]:
    """⟨ψ_j| S |ψ_l⟩, S moving rows by a site, so that φ_{x+1} = S^T φ_x S among these states."""
    rho = states.rho[:count]
    found = np.zeros((count, count))
    for l in range(count):
        moved = np.moveaxis(states.state(l).reshape(states.rows.shape), 0, -1).reshape(-1)
        for j in np.flatnonzero(np.abs(rho - rho[l]) < 1e-6 * rho[l]).tolist():
            found[j, l] = states.state(j) @ moved
    return found
