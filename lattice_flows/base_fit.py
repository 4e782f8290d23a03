"""Fitting a base to the theory, from the action alone.

Walkers are annealed from the base as it begins to the target, at couplings all over the ranges;
then the base's parameters maximise their likelihood, i.e. minimise KL(p‖q₀). For an exponential
family this matches the moments of its statistics, and covers what the walkers have found.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lattice_flows import walkers as annealed
from lattice_flows.base import Base
from lattice_flows.interpolation import LinearPath
from lattice_flows.walkers import Couplings

_WALKERS, _GROUPS = 1024, 16
_MOVES, _STEPS, _RATE = 600, 150, 0.1


def fit_base(base: Base, couplings: Couplings, key: jax.Array) -> Any:
    """The base's parameters; `()` at once for a base without any."""
    begin = base.init()
    if not jax.tree.leaves(begin):
        return begin
    path = LinearPath(base)
    start_key, anneal_key = jax.random.split(key)
    walkers = annealed.start(path, begin, start_key, couplings, _GROUPS, _WALKERS // _GROUPS)
    end = jnp.ones_like(walkers.t)
    walkers = annealed.anneal(path, begin, anneal_key, couplings, walkers, end, _MOVES)

    def loss(params: Any) -> jax.Array:
        def group(phi, place):
            theta = couplings.at(place)
            energy = jnp.mean(jax.vmap(lambda x: base.energy(params, x, theta))(phi))
            return energy + base.log_normalisation(params, theta)

        return jnp.mean(jax.vmap(group)(walkers.phi, walkers.place))

    adam = optax.adam(optax.cosine_decay_schedule(_RATE, _STEPS))

    def step(carry, _):
        params, state = carry
        updates, state = adam.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (begin, adam.init(begin)), None, length=_STEPS)[0][0]
