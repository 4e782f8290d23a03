"""The deformation loss of Máté & Fleuret, arXiv:2301.07388.

A field V carries p_t = e^{-f_t}/Z_t along exactly where the residual

    E(φ, t) = ∂_t f_t + ⟨∇f_t, V⟩ - ∇·V + C_t,      C_t = ∂_t log Z_t = -⟨∂_t f_t⟩_{p_t}

vanishes. The loss is the mean of L(E), E² unless another of `PENALTIES` is chosen, over evaluation
points of two kinds:

- *walkers* that follow p_t (walkers.py), in groups at one (t, θ) each;
- the flow's *own* trajectories: base draws carried to the group's t by the present flow.

C_t is a statement about p_t, so it always comes from the walkers: by Stein's identity
⟨⟨∇f, V⟩ - ∇·V⟩ = 0 under p_t, so minus the group's mean of the other three terms estimates C_t,
with a variance that vanishes as the flow gets right. With C_t from own trajectories the loss has a
spurious minimum, a flow that stays near the base. A group of n walkers estimates its own C_t; the
factor n/(n-1) keeps the expected loss that of the true variance. For a penalty that grows slower
than E² minus the median is the C_t that makes it smallest.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lattice_flows import walkers as annealed
from lattice_flows.flow import Params
from lattice_flows.interpolation import LinearPath
from lattice_flows.objectives.objective import Setting
from lattice_flows.walkers import Walkers

WALKERS_A_GROUP, OWN_A_GROUP = 12, 4
PENALTIES = {
    "squared": jnp.square,
    "absolute": jnp.abs,
    "sum": lambda e: jnp.abs(e) + e**2,
    "logarithmic": lambda e: jnp.log1p(jnp.abs(e)),
}
"""L(E), by name; Máté & Fleuret use the sum."""
_BY_MEAN = ("squared", "sum")  # C_t by the mean of a group, else by its median

_MOVES = 2  # of every walker in a training step
_OWN_STEPS = 4  # midpoint steps to an own point: where it lies exactly does not matter


@dataclass(frozen=True)
class Deformation:
    """The deformation loss on the linear path."""

    setting: Setting

    @property
    def path(self) -> LinearPath:
        return LinearPath(self.setting.flow.base)

    def init(self, params: Params, key: jax.Array) -> Walkers:
        """Walkers annealed to times spread evenly over [0, 1]."""
        start_key, anneal_key = jax.random.split(key)
        groups = max(2, self.setting.batch // (WALKERS_A_GROUP + OWN_A_GROUP))
        couplings = self.setting.couplings
        walkers = annealed.start(
            self.path, params.base, start_key, couplings, groups, WALKERS_A_GROUP
        )
        times = jnp.linspace(0.0, 1.0, groups, dtype=walkers.t.dtype)
        return annealed.anneal(self.path, params.base, anneal_key, couplings, walkers, times)

    def loss(
        self, params: Params, state: Walkers, key: jax.Array, opened: jax.Array
    ) -> tuple[jax.Array, tuple[Walkers, dict[str, jax.Array]]]:
        setting = self.setting
        wander_key, own_key, *move_keys = jax.random.split(key, 2 + _MOVES)
        walkers, acceptance = annealed.wander(wander_key, state), jnp.zeros(())
        for move_key in move_keys:
            walkers, acceptance = annealed.move(
                self.path, params.base, move_key, setting.couplings, walkers, opened
            )
        n = walkers.phi.shape[1]
        points = walkers.phi
        if setting.points != "walkers":
            own = jax.lax.stop_gradient(self._own_points(params, own_key, walkers, opened))
            points = jnp.concatenate([points, own], axis=1)

        def residuals(phi, t, place):
            theta = setting.couplings.at(place, opened)
            return jax.vmap(lambda x: self._residual(params, t, x, theta))(phi)

        parts = jax.vmap(residuals)(points, walkers.t, walkers.place)
        middle = jnp.mean if setting.penalty in _BY_MEAN else jnp.median
        c = -middle(parts[:, :n], axis=1, keepdims=True)
        penalised = PENALTIES[setting.penalty](parts + c)
        on_walkers = jnp.mean(penalised[:, :n]) * n / (n - 1)
        metrics = {"residual": on_walkers, "acceptance": jnp.mean(acceptance)}
        if setting.points == "walkers":
            return on_walkers, (walkers, metrics)
        on_own = jnp.mean(penalised[:, n:])
        metrics["residual_own"] = on_own
        if setting.points == "own":
            return on_own, (walkers, metrics)
        share = n / points.shape[1]
        return share * on_walkers + (1 - share) * on_own, (walkers, metrics)

    def _residual(self, params: Params, t: jax.Array, phi: jax.Array, couplings: Any) -> jax.Array:
        """E without C_t, of one configuration."""
        velocity, divergence = self.setting.flow.velocity(params, t, phi, couplings)
        force = jax.grad(self.path.energy, argnums=2)(params.base, t, phi, couplings)
        rate = self.path.rate(params.base, t, phi, couplings)
        return rate + jnp.sum(force * velocity) - divergence

    def _own_points(
        self, params: Params, key: jax.Array, walkers: Walkers, opened: jax.Array
    ) -> jax.Array:
        """(G, OWN_A_GROUP, *shape) base draws, carried to each group's time (midpoint rule)."""
        flow, couplings = self.setting.flow, self.setting.couplings

        def carry(key, t, place):
            theta = couplings.at(place, opened)
            phi = flow.base.sample(params.base, key, theta)
            h = t / _OWN_STEPS

            def step(phi, i):
                half = phi + 0.5 * h * flow.velocity(params, i * h, phi, theta)[0]
                return phi + h * flow.velocity(params, (i + 0.5) * h, half, theta)[0], None

            return jax.lax.scan(step, phi, jnp.arange(_OWN_STEPS, dtype=phi.dtype))[0]

        keys = jax.random.split(key, (len(walkers.t), OWN_A_GROUP))
        group = jax.vmap(carry, in_axes=(0, None, None))
        return jax.vmap(group)(keys, walkers.t, walkers.place)
