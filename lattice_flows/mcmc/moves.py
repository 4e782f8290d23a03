"""Markov moves that leave p_t ∝ e^{-f_t} invariant.

Metropolis-adjusted Langevin, a cluster flip (clusters.py) and φ → -φ. On a lattice the Langevin
noise is drawn with the covariance of a free field, P_k = ½/(a + t·stiffness·k̂²), so that stiff
modes do not set the step (Fourier acceleration); elsewhere with a width between those of the base
and one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import Path
from lattice_flows.mcmc.clusters import flip_cluster
from theories import LatticeTheory
from theories.lattice import bond_energy, filter_modes, laplacian_eigenvalues
from theories.shapes import Array, Configuration, Point, Scalar

Energy = Callable[[Configuration], Scalar]
Filter = Callable[[Array, Configuration], Configuration]


def move(
    path: Path,
    params: Params,
    key: jax.Array,
    t: Scalar,
    couplings: Point,
    phi: Configuration,
    log_step: Scalar,
) -> tuple[Configuration, Scalar]:
    """Move one configuration at `t`; and the acceptance probability of its Langevin move."""
    theory = path.base.theory
    langevin_key, cluster_key, sign_key = jax.random.split(key, 3)
    variance, apply = _covariance(path, t, couplings, phi.dtype)

    def energy(x: Configuration) -> Scalar:
        return path.energy(params, t, x, couplings)

    # a displacement has the covariance 2·step·P; rescaled by its root it is white noise
    root = jnp.sqrt(jnp.exp(log_step) * variance)
    phi, acceptance = _langevin(langevin_key, phi, energy, root, apply)
    if isinstance(theory, LatticeTheory):
        stiffness = t * jnp.asarray(theory.stiffness(couplings), phi.dtype)
        phi = _flip(cluster_key, phi, energy, stiffness)
    if path.even:
        phi = jax.random.rademacher(sign_key, (), phi.dtype) * phi
    elif theory.even:
        phi = _metropolis(sign_key, energy(phi) - energy(-phi), -phi, phi)
    return phi, acceptance


def _covariance(
    path: Path, t: Scalar, couplings: Point, dtype: Any
) -> tuple[Scalar | Configuration, Filter]:
    """The spectrum of P, and how a function of it is applied to a configuration."""
    theory = path.base.theory
    if not isinstance(theory, LatticeTheory):
        return 1 / ((1 - t) / path.base.scale**2 + t), lambda factor, x: factor * x
    momenta = jnp.asarray(laplacian_eigenvalues(theory.shape), dtype)
    stiffness = t * jnp.asarray(theory.stiffness(couplings), dtype)
    scale = jnp.sqrt(jnp.asarray(theory.strength(couplings), dtype))
    local = 6 * scale + jnp.abs(jnp.asarray(theory.quadratic(couplings), dtype))
    return 1 / (local + stiffness * momenta), filter_modes


def _langevin(
    key: jax.Array, x: Configuration, energy: Energy, root: Scalar | Configuration, apply: Filter
) -> tuple[Configuration, Scalar]:
    """One Metropolis-adjusted Langevin move, and the probability of its acceptance."""
    noise_key, accept_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, x.shape, x.dtype)
    before, gradient = jax.value_and_grad(energy)(x)
    proposal = x + apply(root, noise - 0.5 * apply(root, gradient))
    after, gradient_there = jax.value_and_grad(energy)(proposal)
    back = apply(1 / root, x - proposal) + 0.5 * apply(root, gradient_there)
    log_ratio = before - after + 0.5 * (jnp.sum(noise**2) - jnp.sum(back**2))
    return _metropolis(accept_key, log_ratio, proposal, x), jnp.exp(jnp.minimum(log_ratio, 0))


def _flip(key: jax.Array, x: Configuration, energy: Energy, stiffness: Scalar) -> Configuration:
    """One cluster flip with the bonds of p_t; the rest of the energy is left to Metropolis."""
    cluster_key, accept_key = jax.random.split(key)
    proposal = flip_cluster(cluster_key, x, 2 * stiffness)

    def rest(x: Configuration) -> Scalar:
        return energy(x) - stiffness * bond_energy(x)

    return _metropolis(accept_key, rest(x) - rest(proposal), proposal, x)


def _metropolis(
    key: jax.Array, log_ratio: Scalar, proposal: Configuration, x: Configuration
) -> Configuration:
    """The proposal with probability min(1, e^{log_ratio}), else x; x where that is NaN."""
    accepted = jnp.log(jax.random.uniform(key, (), x.dtype)) < log_ratio
    return jnp.where(accepted, proposal, x)
