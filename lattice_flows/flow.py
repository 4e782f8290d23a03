"""The continuous flow: base, field and solver.

    dφ/dt = V(φ, t; θ),      d(log q)/dt = -∇·V,      t from 0 (base) to 1 (target)

solved with diffrax by Tsit5 at a fixed number of steps, so that log q is a reproducible function of
the parameters. The solver runs in the precision of the configurations; the field is evaluated in
the precision of its parameters, and its divergence is accumulated in that of the configurations.
The flow's density q_s is even; orbit resampling (symmetry.py) makes its draws into those of the
action.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp

from lattice_flows.base import Base
from lattice_flows.fields import Field


class Params(NamedTuple):
    """The parameters of a flow: those of its base and those of its field."""

    base: Any
    field: Any


@dataclass(frozen=True)
class Flow:
    """A flow from `base` along `field` in `steps` equal solver steps."""

    base: Base
    field: Field
    steps: int

    def velocity(
        self, params: Params, t: jax.Array, phi: jax.Array, couplings: Any
    ) -> tuple[jax.Array, jax.Array]:
        """V and ∇·V of one configuration, in the precision of the configuration."""
        dtype = jax.tree.leaves(params.field)[0].dtype
        cast = jax.tree.map(lambda x: jnp.asarray(x, dtype), (t, phi, couplings))
        v, divergence = self.field.apply(params.field, *cast)
        return v.astype(phi.dtype), divergence.astype(phi.dtype)

    def transport(
        self,
        params: Params,
        phi: jax.Array,
        couplings: Any,
        start: float = 0.0,
        end: float = 1.0,
        save_at: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Carry configurations (n, *shape) at one set of couplings from time `start` to `end`.

        Returns them and their change of log q, (n,): -∫∇·V dt along the way. With `save_at`, rising
        in the direction of the motion, both have a leading axis of those times.
        """

        def rhs(t, state, params):
            v, divergence = jax.vmap(lambda x: self.velocity(params, t, x, couplings))(state[0])
            return v, -divergence

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(rhs),
            diffrax.Tsit5(),
            t0=start,
            t1=end,
            dt0=None,
            y0=(phi, jnp.zeros(phi.shape[0], phi.dtype)),
            args=params,
            stepsize_controller=diffrax.StepTo(jnp.linspace(start, end, self.steps + 1)),
            saveat=diffrax.SaveAt(t1=True) if save_at is None else diffrax.SaveAt(ts=save_at),
            max_steps=self.steps + 1,
        )
        assert solution.ys is not None
        moved, change = solution.ys
        return (moved, change) if save_at is not None else (moved[0], change[0])

    def sample(
        self, params: Params, key: jax.Array, couplings: Any, n: int
    ) -> tuple[jax.Array, jax.Array]:
        """n draws (n, *shape) of q_s, and log q_s (n,), in the couplings' precision."""
        keys = jax.random.split(key, n)
        start = jax.vmap(lambda k: self.base.sample(params.base, k, couplings))(keys)
        end, change = self.transport(params, start, couplings)
        return end, self._base_log_prob(params, start, couplings) + change

    def log_prob(self, params: Params, phi: jax.Array, couplings: Any) -> jax.Array:
        """log q_s of configurations (n, *shape), (n,), by the flow run backwards."""
        start, change = self.transport(params, phi, couplings, start=1.0, end=0.0)
        return self._base_log_prob(params, start, couplings) - change

    def trajectory(
        self, params: Params, key: jax.Array, couplings: Any, n: int, times: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """n trajectories at `times`: configurations (T, n, *shape) and log q (T, n)."""
        keys = jax.random.split(key, n)
        start = jax.vmap(lambda k: self.base.sample(params.base, k, couplings))(keys)
        path, change = self.transport(params, start, couplings, save_at=times)
        return path, self._base_log_prob(params, start, couplings)[None] + change

    def _base_log_prob(self, params: Params, phi: jax.Array, couplings: Any) -> jax.Array:
        return jax.vmap(lambda x: self.base.log_prob(params.base, x, couplings))(phi)
