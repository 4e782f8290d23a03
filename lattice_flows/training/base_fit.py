"""Fitting a base to the theory, from the action alone.

Walkers are annealed from independent sites (the base as it begins) to the target, at couplings all
over the ranges, and carry Jarzynski weights e^{-W}, W = ∫ ∂_t f dt along the way: domains frozen in
by a fast annealing count for as little as they should, and those that belong there are kept. Then
the base's parameters minimise, over several guesses, the Rényi divergence

    D_{1+ε}(p‖q₀) = 1/ε log ⟨(p/q₀)^ε⟩_p,      ε small,

close to KL(p‖q₀), but less forgiving to a base that leaves out some of p, such as its domains.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lattice_flows.flows.base import Base
from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import LinearPath, Path
from lattice_flows.mcmc import walkers as annealed
from lattice_flows.mcmc.walkers import Walkers

_WALKERS, _GROUPS = 1024, 16
_MOVES, _STEPS, _RATE = 600, 200, 0.1
_ORDER = 0.1  # of the Rényi divergence, above 1


def fit_base(base: Base, couplings: Couplings, key: jax.Array) -> Any:
    """The base's parameters; those it begins with where nothing is to be fitted."""
    begin, candidates = base.init(), base.guesses(couplings.fixed)
    if not candidates:
        return begin
    path = LinearPath(base, base.even)
    start_key, anneal_key = jax.random.split(key)
    walkers = annealed.start(
        path, Params(begin), start_key, couplings, _GROUPS, _WALKERS // _GROUPS
    )
    walkers, work = _anneal(path, Params(begin), anneal_key, couplings, walkers)
    weights = jax.nn.softmax(-work, axis=1)

    def loss(params: Any) -> jax.Array:
        def group(phi, position, weights):
            theta = couplings.at(position)
            base_energy, action = jax.vmap(lambda x: path.ends(Params(params), x, theta))(phi)
            exponent = _ORDER * (base_energy - action)
            ratio = jax.nn.logsumexp(exponent, b=weights) / _ORDER
            return ratio + base.log_normalisation(params, theta)

        return jnp.mean(jax.vmap(group)(walkers.phi, walkers.position, weights))

    adam = optax.adam(optax.cosine_decay_schedule(_RATE, _STEPS))

    def descend(params: Any) -> tuple[Any, jax.Array]:
        def step(carry, _):
            params, state = carry
            updates, state = adam.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        params = jax.lax.scan(step, (params, adam.init(params)), None, length=_STEPS)[0][0]
        return params, loss(params)

    # the likelihood has several maxima: sites that are already broken, and sites that are not
    guesses = jax.tree.map(lambda *x: jnp.stack(x), *candidates)
    fitted, losses = jax.vmap(descend)(guesses)
    return jax.tree.map(lambda x: x[jnp.nanargmin(losses)], fitted)


def _anneal(
    path: Path, params: Params, key: jax.Array, couplings: Couplings, walkers: Walkers
) -> tuple[Walkers, jax.Array]:
    """Walkers at t = 1 and the work done on each, (G, n)."""

    def rates(phi, t, position):
        theta = couplings.at(position)
        return jax.vmap(lambda x: path.rate(params, t, x, theta))(phi)

    def step(carry, key):
        walkers, work = carry
        work = work + jax.vmap(rates)(walkers.phi, walkers.t, walkers.position) / _MOVES
        walkers = walkers._replace(t=walkers.t + 1 / _MOVES)
        return (annealed.move(path, params, key, couplings, walkers)[0], work), None

    work = jnp.zeros(walkers.phi.shape[:2], walkers.phi.dtype)
    return jax.lax.scan(step, (walkers, work), jax.random.split(key, _MOVES))[0]
