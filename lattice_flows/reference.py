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

from collections.abc import Sequence
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.mcmc.hmc import build_kernel
from blackjax.mcmc.hmc import init as begin

from lattice_flows.clusters import flip_cluster
from lattice_flows.ensemble import Ensemble, describe
from theories import LatticeFlowsError, LatticeTheory, Theory
from theories.lattice import filter_modes, laplacian_eigenvalues

_ACCEPTANCE = 0.8
_LENGTH = np.pi / 2  # of a trajectory: a quarter of a swing at the rate 1
_LONGEST = 100  # leapfrog steps, while the step is still being found


States = Any
"""blackjax's HMCState: position, log-density and its gradient, of one chain or of all of them."""


class Plan(NamedTuple):
    """How long to run: warm-up and what lies between draws are counted in trajectories."""

    chains: int
    draws: int
    warm_up: int
    every: int


def hmc(
    theory: Theory,
    couplings: Any,
    key: jax.Array,
    chains: int = 64,
    draws: int = 64,
    *,
    warm_up: int = 200,
    every: int = 5,
) -> Ensemble:
    """Draws of several independent chains at one set of couplings; the same for the same key.

    chains, draws: how many chains, and the draws kept of each: chains·draws in all.
    warm_up: trajectories before the first draw, in which the step adapts to an acceptance of 0.8.
    every: trajectories from one draw to the next.

    In float64 where jax has it enabled. The ensemble knows its chains, so that `measure` tells
    errors that allow for autocorrelations, and whether the chains agree; its provenance has the
    acceptance. One program is compiled for all couplings.
    Raises LatticeFlowsError for a theory that is not on a lattice, bad couplings and bad counts.
    """
    return hmc_grid(theory, [couplings], key, chains, draws, warm_up=warm_up, every=every)[0]


def hmc_grid(
    theory: Theory,
    grid: Sequence[Any],
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
        points = jax.tree.map(lambda *values: np.asarray(values, dtype), *grid)
    if not np.isfinite(points).all():
        raise LatticeFlowsError(f"couplings beyond the range of {dtype}: enable float64 (--x64)")
    phi, acceptance, step = _run(theory, plan, jax.random.split(key, len(grid)), points)
    phi = np.moveaxis(np.asarray(phi), 2, 1)  # chain by chain
    return [
        Ensemble(
            theory,
            couplings,
            phi[i].reshape(-1, *theory.shape),
            provenance={
                "sampler": "hmc",
                "acceptance": float(acceptance[i]),
                "step_size": float(step[i]),
                "precision": np.dtype(dtype).name,
                **plan._asdict(),
            },
            chains=chains,
        )
        for i, couplings in enumerate(grid)
    ]


@partial(jax.jit, static_argnums=(0, 1))
def _run(
    theory: LatticeTheory, plan: Plan, keys: jax.Array, points: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Configurations (points, draws, chains, *shape), acceptances and steps (points,)."""
    return jax.lax.map(lambda point: _chains(theory, plan, *point), (keys, points))


def _chains(
    theory: LatticeTheory, plan: Plan, key: jax.Array, couplings: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    start_key, warm_key, draw_key = jax.random.split(key, 3)
    white = Whitened(theory, couplings)
    z = jax.random.normal(start_key, (plan.chains, *theory.shape), white.root.dtype)
    states = jax.vmap(lambda z: begin(z, white.log_density))(z)

    def warm(carry: tuple, turn: tuple) -> tuple[tuple, None]:
        states, log_step = carry
        gain, key = turn
        states, acceptance = trajectory(white, key, states, jnp.exp(log_step))
        return (states, log_step + gain * (acceptance - _ACCEPTANCE)), None

    def draw(states: States, keys: jax.Array) -> tuple[States, tuple]:
        states, acceptances = jax.lax.scan(
            lambda states, key: trajectory(white, key, states, step), states, keys
        )
        return states, (jax.vmap(white.field)(states.position), jnp.mean(acceptances))

    # Robbins-Monro: gains that fall so slowly reach any step, and so fast average the noise out
    gains = jnp.arange(1, plan.warm_up + 1, dtype=white.root.dtype) ** -0.6
    turns = gains, jax.random.split(warm_key, plan.warm_up)
    (states, log_step), _ = jax.lax.scan(warm, (states, jnp.zeros((), z.dtype)), turns)
    step = jnp.exp(log_step)
    keys = jax.random.split(draw_key, (plan.draws, plan.every))
    _, (phi, acceptances) = jax.lax.scan(draw, states, keys)
    return phi, jnp.mean(acceptances), step


class Whitened:
    """A theory in the variables z, φ = P^{1/2} z, in which HMC has unit masses."""

    def __init__(self, theory: LatticeTheory, couplings: Any):
        self.theory, self.couplings = theory, couplings
        dtype = jnp.result_type(float)
        stiffness, quadratic, quartic = (
            jnp.asarray(coefficient(couplings), dtype)
            for coefficient in (theory.stiffness, theory.quadratic, theory.quartic)
        )
        # q makes P the covariance of a free field. Elsewhere the curvature is larger, in the wells
        # -4q, but not that of the slowest modes of a critical theory: these factors were the best
        # over chains and tori on either side of the transition.
        local = jnp.maximum(quadratic, -quadratic / 2) + 0.4 * jnp.sqrt(quartic)
        momenta = jnp.asarray(laplacian_eigenvalues(theory.shape), dtype)
        self.root = jnp.sqrt(0.5 / (local + stiffness * momenta))

    def field(self, z: jax.Array) -> jax.Array:
        """φ of one z, both of the theory's shape."""
        return filter_modes(self.root, z)

    def white(self, phi: jax.Array) -> jax.Array:
        """z of one φ."""
        return filter_modes(1 / self.root, phi)

    def log_density(self, z: jax.Array) -> jax.Array:
        """log p of one z, up to a constant."""
        return -self.theory.action(self.field(z), self.couplings)


def trajectory(
    white: Whitened, key: jax.Array, states: States, step: jax.Array
) -> tuple[States, jax.Array]:
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


def _flip(white: Whitened, key: jax.Array, phi: jax.Array) -> jax.Array:
    """One configuration with a cluster flipped, or not, and with either sign.

    Of the action only the one-site potential can tell φ from its mirror image, and of that only
    what is odd. The sign is a heat bath of two states: Metropolis would flip a symmetric theory
    every time, and its chains would alternate.
    """

    def log_weight(phi: jax.Array) -> jax.Array:
        return -jnp.sum(white.theory.potential(phi, white.couplings))

    cluster_key, accept_key, sign_key = jax.random.split(key, 3)
    bond = 2 * jnp.asarray(white.theory.stiffness(white.couplings), phi.dtype)  # of φ_x φ_y in -S
    flipped = flip_cluster(cluster_key, phi, bond)
    gain = log_weight(flipped) - log_weight(phi)
    accepted = jnp.log(jax.random.uniform(accept_key, (), phi.dtype)) < gain
    phi = jnp.where(accepted, flipped, phi)
    mirror = jax.nn.sigmoid(log_weight(-phi) - log_weight(phi))
    return jnp.where(jax.random.uniform(sign_key, (), phi.dtype) < mirror, -phi, phi)
