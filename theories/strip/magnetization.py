"""The distribution of the magnetization M = Σφ / V of a strip.

    ⟨e^{ikM}⟩ = Tr (T D_k)^L / Tr T^L,    D_k = Π_i e^{ikφ_i/V} of a row,

by the returns F_m to the states that are kept (states.py). What Q = 1 - P adds is a part
Σ_Q ρ_j^L / Z of the trace; its averages are taken to be like the others (distribution.py). On the
nodes |M| ≤ B, the largest of them, so k = 0, π/B, 2π/B, … give a Fourier series of P(M) until
⟨e^{ikM}⟩ has vanished, and with it every average: ⟨|M|⟩, P(M > 0), ⟨M^p⟩.

Of an even potential all is real: with i in front of odd functions of a row, D_k is
cos(kΣφ/V) + sin(kΣφ/V) R, R the reflection φ → -φ, and (f, g) is Σ f R g.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from ..distribution import Distribution
from .states import StripStates

_BLOCK = 4
_MOST = 400
_SMALL = 0.05
_NEGLIGIBLE = 1e-3
_SINGLE = 5e-7  # errors for which single precision is enough

Functions = Num[np.ndarray, "slots sectors orbits"]


def magnetization_distribution(states: StripStates, tolerance: float) -> Distribution:
    """P(M), each Fourier coefficient with an error below `tolerance` where the states suffice."""
    bound = float(np.max(np.abs(states.rows.x)))
    count, error = states.leading(tolerance)
    error = max(error, 1e-13)
    found: list[complex] = [1.0]
    before = np.inf
    while len(found) < _MOST:
        k = np.pi / bound * np.arange(len(found), len(found) + _BLOCK)
        block = [characteristic(states, one, count, error) for one in k]
        largest = float(np.max(np.abs(block)))
        # What does not fall any more is not the theory's but the nodes'.
        if largest < _SMALL and largest > 0.9 * before:
            error = max(error, before)
            break
        found += block
        before = largest
        if largest < error:
            break
    return Distribution(bound, np.array(found, dtype=np.complex128), error)


def characteristic(states: StripStates, k: float, count: int, tolerance: float) -> complex:
    """⟨e^{ikM}⟩ by the returns to the `count` leading states, to `tolerance`."""
    rows, length, symmetry = states.rows, states.length, states.symmetry
    blocks = _blocks(states, count, np.float32 if tolerance >= _SINGLE else np.float64)
    slots = max(len(block.members) for block in blocks)
    # A function of each block in every slot: T is applied to all of them at once.
    u = np.zeros((slots, len(symmetry.signs), symmetry.orbits), blocks[0].psi[0][2].dtype)
    for block in blocks:
        for sector, which, psi in block.psi:
            u[which, sector] = psi
    total = rows.total()[symmetry.representatives].astype(u.dtype)
    angle = k / (rows.width * length) * total
    phase = _phase(angle, states.even)
    # F_{s+t+1} = (u_s, D u_t) with u_s = (T_Q D)^s P
    phased = phase(u)
    returns = [[_form(u, phased, block)] for block in blocks]
    before = 1.0
    for _ in range(length // 2):
        u = _without(blocks, np.array([_apply(states, one) for one in phased]))
        here = float(np.sqrt(np.max(np.sum(np.abs(u) ** 2, axis=(1, 2)))))
        if here * before < _NEGLIGIBLE * tolerance:
            break
        before = here
        for found, block in zip(returns, blocks, strict=True):
            found.append(_form(u, phased, block))
        phased = phase(u)
        for found, block in zip(returns, blocks, strict=True):
            found.append(_form(u, phased, block))
    # As a part of what these states have at k = 0: the others are taken to be like them.
    whole = float(np.sum(states.rho[:count] ** length))
    traces = [
        _trace([f * block.kappa for f in found[:length]], length)
        for found, block in zip(returns, blocks, strict=True)
    ]
    return complex(sum(traces)) / whole


class Block(NamedTuple):
    """States that D_k mixes: of one sector, or of an even one and its odd one.

    members: their numbers. kappa: ρ, and its sign that of a function times i where it is odd.
    sectors: with a sign for (f, f), too. psi: (sector, places among the members, the parts).
    """

    members: Int[np.ndarray, " P"]
    kappa: Float[np.ndarray, " P"]
    sectors: list[tuple[int, float]]
    psi: list[tuple[int, Int[np.ndarray, " p"], Float[np.ndarray, "p orbits"]]]


def _blocks(states: StripStates, count: int, dtype: type) -> list[Block]:
    whole = len(states.symmetry.signs)
    half = whole // 2 if states.even else whole
    found = []
    for first in range(half):
        sectors = range(first, whole, half)
        members = states.members(sectors, count)
        if not len(members):
            continue
        sign = {sector: -1.0 if states.symmetry.odd(sector) else 1.0 for sector in sectors}
        its = np.array([states.sector(j) for j in members.tolist()])
        psi = [
            (
                sector,
                np.flatnonzero(its == sector),
                states.parts(members[its == sector]).astype(dtype),
            )
            for sector in sectors
            if np.any(its == sector)
        ]
        kappa = states.rho[members] * np.array([sign[sector] for sector in its.tolist()])
        found.append(Block(members, kappa, list(sign.items()), psi))
    return found


def _phase(angle: Float[np.ndarray, " orbits"], even: bool) -> Callable[[Functions], Functions]:
    """D_k, of functions by their parts."""
    cosine, sine = np.cos(angle), np.sin(angle)

    def phase(u: Functions) -> Functions:
        if not even:
            return (cosine + np.complex64(1j) * sine) * u
        half, turned = u.shape[1] // 2, np.empty_like(u)
        for here, one in zip(turned, u, strict=True):
            here[:half] = cosine * one[:half] - sine * one[half:]
            here[half:] = cosine * one[half:] + sine * one[:half]
        return turned

    return phase


def _apply(states: StripStates, parts: Any) -> Any:
    """T, of functions that may be complex."""
    if np.iscomplexobj(parts):
        return states.apply_parts(parts.real) + np.complex64(1j) * states.apply_parts(parts.imag)
    return states.apply_parts(parts)


def _without(blocks: list[Block], u: Functions) -> Functions:
    """What of the functions is in Q."""
    for block in blocks:
        for sector, _, psi in block.psi:
            u[:, sector] -= (u[:, sector] @ psi.T) @ psi
    return u


def _form(u: Functions, v: Functions, block: Block) -> Num[np.ndarray, "P P"]:
    """(u_i, v_j) of functions of the block."""
    some = slice(len(block.members))
    return np.sum(
        [sign * (u[some, sector] @ v[some, sector].T) for sector, sign in block.sectors], axis=0
    )


def _trace(returns: list[Num[np.ndarray, "P P"]], length: int) -> complex:
    """Of all cycles that pass P, from the returns F_m κ."""
    series = [np.eye(len(returns[0]), dtype=returns[0].dtype)]
    for l in range(1, length):
        terms = (f @ series[l - m] for m, f in enumerate(returns[:l], start=1))
        series.append(np.sum(list(terms), axis=0))
    return sum(m * np.sum(f * series[length - m].T) for m, f in enumerate(returns, start=1))
