"""The distribution of the magnetization M = Σφ / V of a strip.

    ⟨e^{ikM}⟩ = Tr (T D_k)^L / Tr T^L,    D_k = Π_i e^{ikφ_i/V} of a row,

by the returns F_m to the states that are kept (states.py), whose error is 2 Σ_Q ρ_j^L / Z. On
the nodes |M| ≤ B, the largest of them, so k = 0, π/B, 2π/B, … give a Fourier series of P(M) until
⟨e^{ikM}⟩ has vanished, and with it every average: ⟨|M|⟩, P(M > 0), ⟨M^p⟩.

Of an even potential all is real: with i in front of odd functions of a row, D_k is
cos(kΣφ/V) + sin(kΣφ/V) R, R the reflection φ → -φ, and (f, g) is Σ f R g.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Num

from ..distribution import Distribution
from .rows import Sector
from .states import StripStates

_BLOCK = 4
_MOST = 400
_SMALL = 0.05
_NOTHING = 1e-17

Functions = Num[np.ndarray, "P sectors orbits"]


def magnetization_distribution(states: StripStates, tolerance: float) -> Distribution:
    """P(M), each Fourier coefficient with an error below `tolerance` where the states suffice."""
    bound = float(np.max(np.abs(states.rows.x)))
    count, error = states.leading(tolerance)
    error = 2 * max(error, 1e-13)
    found: list[complex] = [1.0]
    before = np.inf
    while len(found) < _MOST:
        k = np.pi / bound * np.arange(len(found), len(found) + _BLOCK)
        block = [characteristic(states, one, count) for one in k]
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


def characteristic(states: StripStates, k: float, count: int) -> complex:
    """⟨e^{ikM}⟩ by the returns to the `count` leading states."""
    blocks: dict[tuple[int, ...], list[Sector]] = {}
    for sector in states.sectors:  # D_k mixes odd and even ones only
        blocks.setdefault(sector.signs[1:] if states.even else sector.signs, []).append(sector)
    # As a part of what these states have at k = 0: the others are taken to be like them.
    whole = float(np.sum(states.rho[:count] ** states.length))
    return sum(_in_block(states, k, block, count) for block in blocks.values()) / whole


def _in_block(states: StripStates, k: float, block: list[Sector], count: int) -> complex:
    """The trace over the sectors of `block`, one of them or an even and an odd one.

    Functions are arrays of (sector, orbits), i times the odd ones, real; or of one sector, complex.
    """
    rows, length = states.rows, states.length
    numbers = [states.members(sector, count) for sector in block]
    members = np.concatenate(numbers)
    if not len(members):
        return 0.0
    even = states.even
    psi = np.zeros((len(members), len(block), len(block[0].root)))
    done = 0
    for i, sector in enumerate(block):
        psi[done : done + len(numbers[i]), i] = states.components(sector, count)
        done += len(numbers[i])
    parity = np.array([1.0, -1.0])[: len(block)]
    kappa = states.rho[members] * np.where(states.odd[members], -1.0, 1.0)
    representatives = block[0].representatives
    angle = k / (rows.width * length) * rows.total()[representatives]
    cosine, sine = np.cos(angle), np.sin(angle)

    def phase(u: Functions) -> Functions:
        if even:
            return np.stack(
                [cosine * u[:, 0] - sine * u[:, 1], cosine * u[:, 1] + sine * u[:, 0]], axis=1
            )
        return (cosine + 1j * sine) * u

    def step(u: Functions) -> Functions:
        u = np.array([_apply(states, block, v) for v in u])
        return u - np.tensordot(np.tensordot(u, psi, axes=([1, 2], [1, 2])), psi, axes=1)

    def form(u: Functions, v: Functions) -> Num[np.ndarray, "P P"]:
        return np.tensordot(u * parity[:, None], v, axes=([1, 2], [1, 2]))

    # F_{s+t+1} = (u_s, D u_t) with u_s = (T_Q D)^s P
    u, phased = psi, phase(psi)
    returns = [form(u, phased)]
    while len(returns) < length and np.abs(u).max() > _NOTHING:
        u = step(phased)
        returns.append(form(u, phased))
        phased = phase(u)
        returns.append(form(u, phased))
    returns = [f * kappa for f in returns[:length]]
    series = [np.eye(len(members), dtype=returns[0].dtype)]
    for l in range(1, length):
        terms = (f @ series[l - m] for m, f in enumerate(returns[:l], start=1))
        series.append(np.sum(list(terms), axis=0))
    traces = [m * np.sum(f * series[length - m].T) for m, f in enumerate(returns, start=1)]
    return complex(sum(traces))


def _apply(states: StripStates, block: list[Sector], v: Any) -> Any:
    """T v, all sectors of the block at once; v is (sectors, orbits)."""
    if np.iscomplexobj(v):
        return _apply(states, block, v.real) + 1j * _apply(states, block, v.imag)
    found = states.apply(np.sum([s.spread(u) for s, u in zip(block, v, strict=True)], axis=0))
    if len(block) == 1:
        return block[0].gather(found)[None]
    here = block[0].representatives
    at, across = found[here], found[len(found) - 1 - here]
    halves = ((at + across) / 2, (at - across) / 2)
    return np.array(
        [s.follows[here] * half * s.root for s, half in zip(block, halves, strict=True)]
    )
