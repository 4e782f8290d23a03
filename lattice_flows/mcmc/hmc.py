"""Hamiltonian Monte Carlo: reference samples in any dimension, with nothing learned.

A configuration is given momenta, follows Hamilton's equations for a while and is accepted by
Metropolis (Duane et al., Phys. Lett. B 195, 216; the trajectories are blackjax's). With the
momenta distributed as the modes of a free field are (Fourier acceleration: Batrouni et al., Phys.
Rev. D 32, 2736) all modes swing at about the same rate, and one step suits them all:

    φ = P^{1/2} z,  H = S(P^{1/2} z) + ½ Σ π²,  P_k = 1/(2 (a + stiffness k̂²)).

Trajectories are of random length, about a quarter of a swing. Between wells they hardly ever cross:
chains that have all begun in one would agree about a wrong answer, and domain walls would stay. So
after each trajectory a cluster is flipped (clusters.py), and φ or -φ taken with their
probabilities.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.mcmc.hmc import HMCState, build_kernel
from blackjax.mcmc.hmc import init as begin

from lattice_flows.ensembles.blocks import Blocks
from lattice_flows.ensembles.ensemble import Ensemble, describe
from lattice_flows.mcmc.clusters import flip_cluster
from theories import LatticeFlowsError, LatticeTheory, Theory
from theories.lattice import filter_modes, laplacian_eigenvalues
from theories.shapes import Configuration, Point, Scalar

_ACCEPTANCE = 0.8
_LENGTH = np.pi / 2  # of a trajectory: a quarter of a swing at the rate 1
_LONGEST = 100  # leapfrog steps, while the step is still being found


# Draws in one call of the compiled program: at most so many, so many bytes, and about a second.
_DRAWS, _BYTES, _SECONDS = 64, 4 << 20, 1.0

States = Any
"""blackjax's HMCState: position, log-density and its gradient, of one chain or of all of them."""


class Plan(NamedTuple):
    """How long to run: warm-up and what lies between draws are counted in trajectories."""

    chains: int
    draws: int
    warm_up: int
    every: int

    @property
    def trajectories(self) -> int:
        """Of each chain, all together."""
        return self.warm_up + self.draws * self.every


def hmc(
    theory: Theory,
    couplings: Point,
    key: jax.Array,
    chains: int = 64,
    draws: int = 64,
    *,
    warm_up: int = 200,
    every: int = 5,
    blocks: Blocks | None = None,
    report: Callable[[int, dict[str, float]], None] = lambda done, metrics: None,
) -> Ensemble:
    """Draws of several independent chains at one set of couplings; the same for the same key.

    chains, draws: how many chains, and the draws kept of each: chains·draws in all.
    warm_up: trajectories before the first draw, in which the step adapts to an acceptance of 0.8.
    every: trajectories from one draw to the next.
    blocks: where the draws are kept meanwhile; those that are there already are gone on from.
    report: called with the trajectories done.

    In float64 where jax has it enabled. The ensemble knows its chains, so that `measure` tells
    errors that allow for autocorrelations, and whether the chains agree; its provenance has the
    acceptance. One program is compiled for all couplings and counts, the chains' number apart.
    Raises LatticeFlowsError for a theory that is not on a lattice, bad couplings and bad counts,
    Interrupted as `Blocks.add` does.
    """
    plan = Plan(chains, draws, warm_up, every)
    (point,) = _checked(theory, [couplings], plan)
    key = jax.random.fold_in(key, 0)
    return _run(theory, couplings, point, key, plan, blocks or Blocks(), report)


def hmc_grid(
    theory: Theory,
    grid: Sequence[Point],
    key: jax.Array,
    chains: int = 64,
    draws: int = 64,
    *,
    warm_up: int = 200,
    every: int = 5,
) -> list[Ensemble]:
    """`hmc` at each couplings of `grid`, one after the other in one compiled program.

    The draws at all of them are held in memory together.
    """
    plan = Plan(chains, draws, warm_up, every)
    points = _checked(theory, grid, plan)
    return [
        _run(theory, couplings, point, jax.random.fold_in(key, i), plan, Blocks())
        for i, (couplings, point) in enumerate(zip(grid, points, strict=True))
    ]


def _checked(theory: Theory, grid: Sequence[Point], plan: Plan) -> list[Point]:
    """The couplings in jax's present precision."""
    if not isinstance(theory, LatticeTheory):
        raise LatticeFlowsError(
            f"HMC does not move between the modes of {describe(theory)}: give a lattice theory"
        )
    for name, count in plan._asdict().items():
        least = 0 if name == "warm_up" else 1
        if not isinstance(count, Integral) or count < least:
            raise LatticeFlowsError(f"{name} = {count}: give a whole number from {least} on")
    for couplings in grid:
        theory.validate(couplings)
    dtype = jnp.result_type(float)
    with np.errstate(over="ignore"):  # refused here
        points = [jax.tree.map(lambda value: np.asarray(value, dtype), c) for c in grid]
    if not np.isfinite(points).all():
        raise LatticeFlowsError(
            f"couplings beyond the range of {dtype}: enable float64 (`jax_enable_x64=True`)"
        )
    return points


def _run(
    theory: Theory,
    couplings: Point,
    point: Point,
    key: jax.Array,
    plan: Plan,
    blocks: Blocks,
    report: Callable[[int, dict[str, float]], None] = lambda done, metrics: None,
) -> Ensemble:
    """The draws of one point, from where `blocks` has got to."""
    start_key, warm_key, draw_key = jax.random.split(key, 3)
    state = blocks.state or _start(theory, plan.chains, start_key, point)
    row = plan.chains * theory.sites * state["position"].dtype.itemsize
    size = max(1, min(_DRAWS, _BYTES // row))
    count = 1

    def advance(key: jax.Array, first: int, left: int, every: int, warming: bool) -> Any:
        """`count` draws, and then a `count` for which it would have taken a second."""
        nonlocal state, count
        now, begin = min(count, left, size), time.monotonic()
        state, *drawn = jax.block_until_ready(
            _advance(theory, size, point, key, state, first, now, every, warming)
        )
        seconds = max(time.monotonic() - begin, 1e-3)
        count = int(np.clip(now * _SECONDS / seconds, 1, 4 * now))
        phi, acceptance = (np.asarray(x)[:now] for x in drawn)
        return np.moveaxis(phi, 0, 1), acceptance[None]

    while (warmed := int(state["warmed"])) < plan.warm_up:
        advance(warm_key, warmed, plan.warm_up - warmed, 1, True)
        report(int(state["warmed"]), {})
        blocks.add({}, state)
    while blocks.done < plan.draws:
        left = plan.draws - blocks.done
        phi, acceptance = advance(draw_key, blocks.done, left, plan.every, False)
        done = plan.warm_up + (blocks.done + len(acceptance[0])) * plan.every
        report(done, {"acceptance": float(acceptance.mean())})
        blocks.add({"configuration": phi, "acceptance": acceptance}, state)
    provenance = {
        "sampler": "hmc",
        "acceptance": float(np.mean(blocks.joined("acceptance", plan.draws))),
        "step_size": float(np.exp(state["log_step"])),
        "precision": np.dtype(state["position"].dtype).name,
        **plan._asdict(),
    }
    phi = blocks.joined("configuration", plan.draws)
    return Ensemble(theory, couplings, phi, None, provenance, chains=plan.chains)


@partial(jax.jit, static_argnums=(0, 1))
def _start(
    theory: LatticeTheory, chains: int, key: jax.Array, point: Point
) -> dict[str, jax.Array]:
    """Where chains begin: the states, the logarithm of the step and how much of it is adapted."""
    white = Whitened(theory, point)
    z = jax.random.normal(key, (chains, *theory.shape), white.root.dtype)
    states = jax.vmap(lambda z: begin(z, white.log_density))(z)
    return _state(states, jnp.zeros((), z.dtype), jnp.zeros((), int))


def _state(states: States, log_step: jax.Array, warmed: jax.Array) -> dict[str, jax.Array]:
    return dict(
        zip(("position", "logdensity", "gradient"), states, strict=True),
        log_step=log_step,
        warmed=warmed,
    )


@partial(jax.jit, static_argnums=(0, 1))
def _advance(
    theory: LatticeTheory,
    size: int,
    point: Point,
    key: jax.Array,
    state: dict[str, jax.Array],
    first: int | jax.Array,
    count: int | jax.Array,
    every: int | jax.Array,
    warming: bool | jax.Array,
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """Draws number `first` to `first + count` of all chains, `every` trajectories apart.

    Returns the state after them, configurations (size, chains, *shape) and acceptances (size,), of
    which the first `count` are meant. While `warming` the step is adapted. Counts are no part of
    the program, nor is whether it is warming up.
    """
    white = Whitened(theory, point)
    dtype = white.root.dtype

    def move(turn: jax.Array, carry: tuple) -> tuple:
        states, log_step, total = carry
        states, acceptance = trajectory(
            white, jax.random.fold_in(key, turn), states, jnp.exp(log_step)
        )
        # Robbins-Monro: gains that fall so slowly reach any step, and so fast average the noise out
        gain = jnp.where(warming, (turn + 1).astype(dtype) ** -0.6, jnp.zeros((), dtype))
        return states, log_step + gain * (acceptance - _ACCEPTANCE), total + acceptance

    def draw(i: jax.Array, carry: tuple) -> tuple:
        states, log_step, phi, acceptances = carry
        turn = (first + i) * every
        none = jnp.zeros((), dtype)
        states, log_step, total = jax.lax.fori_loop(
            turn, turn + every, move, (states, log_step, none)
        )
        phi = phi.at[i].set(jax.vmap(white.field)(states.position))
        return states, log_step, phi, acceptances.at[i].set(total / jnp.asarray(every, dtype))

    parts: Any = (state["position"], state["logdensity"], state["gradient"])
    states = HMCState(*parts)
    phi = jnp.zeros((size, *parts[0].shape), dtype)
    carry = states, state["log_step"], phi, jnp.zeros(size, dtype)
    states, log_step, phi, acceptances = jax.lax.fori_loop(0, count, draw, carry)
    warmed = state["warmed"] + jnp.where(warming, count, 0)
    return _state(states, log_step, warmed), phi, acceptances


class Whitened:
    """A theory in the variables z, φ = P^{1/2} z, in which HMC has unit masses."""

    def __init__(self, theory: LatticeTheory, couplings: Point):
        self.theory, self.couplings = theory, couplings
        dtype = jnp.result_type(float)
        stiffness, quadratic, strength = (
            jnp.asarray(coefficient(couplings), dtype)
            for coefficient in (theory.stiffness, theory.quadratic, theory.strength)
        )
        # q makes P the covariance of a free field. Elsewhere the curvature is larger, in the wells
        # -4q, but not that of the slowest modes of a critical theory: these factors were the best
        # over chains and tori on either side of the transition.
        local = jnp.maximum(quadratic, -quadratic / 2) + 0.4 * jnp.sqrt(strength)
        momenta = jnp.asarray(laplacian_eigenvalues(theory.shape), dtype)
        self.root = jnp.sqrt(0.5 / (local + stiffness * momenta))

    def field(self, z: Configuration) -> Configuration:
        """φ of one z."""
        return filter_modes(self.root, z)

    def white(self, phi: Configuration) -> Configuration:
        """z of one φ."""
        return filter_modes(1 / self.root, phi)

    def log_density(self, z: Configuration) -> Scalar:
        """log p of one z, up to a constant."""
        return -self.theory.action(self.field(z), self.couplings)


def trajectory(
    white: Whitened, key: jax.Array, states: States, step: Scalar
) -> tuple[States, Scalar]:
    """One trajectory and its flips for all chains, and the mean acceptance probability.

    The number of leapfrog steps is random, the same for all chains: it depends on no configuration,
    so that the chains remain independent.
    """
    length_key, chain_key = jax.random.split(key)
    keys = jax.random.split(chain_key, (2, len(states.position)))
    length = _LENGTH * jax.random.uniform(length_key, (), step.dtype, 0.5, 1.5)
    count = jnp.clip(jnp.round(length / step), 1, _LONGEST).astype(int)
    masses = jnp.ones(white.theory.sites, step.dtype)
    kernel: Any = build_kernel()

    def move(move_key: jax.Array, flip_key: jax.Array, state: States) -> tuple[States, jax.Array]:
        state, info = kernel(move_key, state, white.log_density, step, masses, count)
        phi = _flip(white, flip_key, white.field(state.position))
        return begin(white.white(phi), white.log_density), info.acceptance_rate

    states, acceptance = jax.vmap(move)(keys[0], keys[1], states)
    return states, jnp.mean(acceptance)


def _flip(white: Whitened, key: jax.Array, phi: Configuration) -> Configuration:
    """One configuration with a cluster flipped, or not, and with either sign.

    Of the action only the one-site potential can tell φ from its mirror image, and of that only
    what is odd. The sign is a heat bath of two states: Metropolis would flip a symmetric theory
    every time, and its chains would alternate.
    """

    def log_weight(phi: Configuration) -> Scalar:
        return -jnp.sum(white.theory.potential(phi, white.couplings))

    cluster_key, accept_key, sign_key = jax.random.split(key, 3)
    bond = 2 * jnp.asarray(white.theory.stiffness(white.couplings), phi.dtype)  # of φ_x φ_y in -S
    flipped = flip_cluster(cluster_key, phi, bond)
    gain = log_weight(flipped) - log_weight(phi)
    accepted = jnp.log(jax.random.uniform(accept_key, (), phi.dtype)) < gain
    phi = jnp.where(accepted, flipped, phi)
    mirror = jax.nn.sigmoid(log_weight(-phi) - log_weight(phi))
    return jnp.where(jax.random.uniform(sign_key, (), phi.dtype) < mirror, -phi, phi)
