"""log Z by thermodynamic integration along the flow.

    log Z = log Z₀ + ∫₀¹ C_t dt,      C_t = -⟨∂_t f_t⟩_{p_t} = -⟨∂_t f_t + ⟨∇f_t, V⟩ - ∇·V⟩_{p_t},

Z₀ the mean weight of the base's draws (the same for each where f₀ is the base's energy), the
averages with the weights that the flow's trajectories have as draws of p_t, at the nodes of a
Gauss-Legendre rule; or, where C_t was trained as a network, the integral of that. It is worth
reporting beside the mean weight at t = 1, whose errors are of another kind.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lattice_flows.flows.fields import time_network
from lattice_flows.flows.model import Model
from lattice_flows.flows.params import Params

_NODES = 12


def integrated_log_z(
    model: Model, params: Params, key: jax.Array, couplings: Any, n: int
) -> jax.Array:
    """log Z from n trajectories, a scalar in the precision of the couplings."""
    flow, path = model.flow, model.path
    dtype = jnp.result_type(*couplings)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    nodes = np.concatenate([[0.0], 0.5 * (1 + nodes)])
    times = jnp.asarray(nodes, dtype)
    phi, log_q = flow.trajectory(params, key, couplings, n, nodes)

    def average(t: jax.Array, phi: jax.Array, log_weights: jax.Array) -> jax.Array:
        # ⟨∇f, V⟩ - ∇·V has mean 0 under p_t, and takes the noise of ∂_t f with it
        parts = jax.vmap(lambda x: path.residual(params, flow, t, x, couplings))(phi)
        return -jnp.sum(jax.nn.softmax(log_weights) * parts)

    def log_weight(t: jax.Array, phi: jax.Array) -> jax.Array:
        return -jax.vmap(lambda x: path.energy(params, t, x, couplings))(phi)

    log_weights = jax.vmap(log_weight)(times, phi) - log_q
    if model.config.constant == "network":
        c = _network(model, params, times[1:], couplings)
    else:
        c = jax.vmap(average)(times[1:], phi[1:], log_weights[1:])
    start = jax.nn.logsumexp(log_weights[0]) - jnp.log(jnp.asarray(n, dtype))
    return start + jnp.sum(jnp.asarray(0.5 * weights, dtype) * c)


def _network(model: Model, params: Params, times: jax.Array, couplings: Any) -> jax.Array:
    """C_t as it was trained, at `times`, in the precision of its parameters."""
    theory = model.flow.base.theory
    network = time_network(theory, model.config.ranges)
    dtype = jax.tree.leaves(params.constant)[0].dtype
    cast = jax.tree.map(lambda x: jnp.asarray(x, dtype), couplings)
    nowhere = jnp.zeros(theory.shape, dtype)
    c = jax.vmap(lambda t: network.apply(params.constant, t, nowhere, cast))(times.astype(dtype))
    return c.astype(times.dtype)
