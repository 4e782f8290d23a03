"""The continuous flow: base, field and solver.

    dφ/dt = V(φ, t; θ),      d(log q)/dt = -∇·V,      t from 0 (base) to 1 (target)

solved with diffrax by Tsit5 at a fixed number of steps, so that log q is a reproducible function of
the parameters. The solver runs in the precision of the configurations; the field is evaluated in
the precision of its parameters, and its divergence is accumulated in that of the configurations.
The score s = ∇ log q_s obeys an equation of its own along the flow,

    ds/dt = -(∂V/∂φ)ᵀ s - ∇(∇·V),

one vector-Jacobian product of (V, ∇·V) (Vaitl et al., arXiv:2206.09016). How log q changes with the
couplings at a fixed φ, ℓ = ∂_θ log q, is likewise exact: the tangents of the flow run backwards,

    d(δφ)/dt = (∂V/∂φ) δφ + ∂V/∂θ,      d(δ log q)/dt = -∂(∇·V)/∂φ δφ - ∂(∇·V)/∂θ,

one Jacobian-vector product of (V, ∇·V). The density q_s of an odd
flow is even; orbit resampling (symmetry.py) makes its draws into those of the action.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows.base import Base
from lattice_flows.flows.fields import Field
from lattice_flows.flows.params import Params, in_precision_of
from theories.shapes import Array, Configuration, Configurations, Point, Scalar

Times = Float[np.ndarray, " times"]
Saved = Float[Array, " times n *shape"]
"""Configurations at several times."""


@dataclass(frozen=True)
class Flow:
    """A flow from `base` along `field` in `steps` equal solver steps."""

    base: Base
    field: Field
    steps: int

    @property
    def odd(self) -> bool:
        """Whether V(-φ) = -V(φ) and q₀ is even, for a theory whose ± wells it may then relate."""
        return self.field.odd and self.base.even and self.base.theory.even

    def velocity(
        self, params: Params, t: Scalar, phi: Configuration, couplings: Point
    ) -> tuple[Configuration, Scalar]:
        """V and ∇·V of one configuration, in the precision of the configuration."""
        cast = in_precision_of(params.field, t, phi, couplings)
        v, divergence = self.field.apply(params.field, *cast)
        return v.astype(phi.dtype), divergence.astype(phi.dtype)

    def integrate(
        self,
        params: Params,
        phi: Configurations,
        couplings: Point,
        start: Scalar | float = 0.0,
        end: Scalar | float = 1.0,
        save_at: Times | None = None,
    ) -> tuple[Configurations | Saved, Float[Array, " n"] | Float[Array, "times n"]]:
        """Carry configurations at one set of couplings from time `start` to `end`.

        Returns them and their change of log q: -∫∇·V dt along the way. With `save_at`, rising
        in the direction of the motion, both have a leading axis of those times, each of which ends
        a step of the solver.
        """

        def rhs(t, state, params):
            v, divergence = jax.vmap(lambda x: self.velocity(params, t, x, couplings))(state[0])
            return v, -divergence

        state = (phi, jnp.zeros(phi.shape[0], phi.dtype))
        return self._solve(rhs, state, params, start, end, save_at)

    def sample(
        self, params: Params, key: jax.Array, couplings: Point, n: int
    ) -> tuple[Configurations, Float[Array, " n"]]:
        """n draws of q_s, and log q_s, in the couplings' precision."""
        start, log_q = self.base.draw(params.base, key, couplings, n)
        end, change = self.integrate(params, start, couplings)
        return end, log_q + change

    def sample_with_score(
        self, params: Params, key: jax.Array, couplings: Point, n: int
    ) -> tuple[Configurations, Float[Array, " n"], Configurations]:
        """The draws and log q_s of `sample`, and the score ∇ log q_s at each draw.

        The draws alone depend on the parameters for differentiation: it leaves log q_s and the
        score constant, as a path gradient takes them.
        """

        def motion(t, phi, params):
            return jax.vmap(lambda x: self.velocity(params, t, x, couplings)[0])(phi)

        frozen = jax.lax.stop_gradient(params)
        start = self.base.draw(params.base, key, couplings, n)[0]
        fixed = jax.lax.stop_gradient(start)
        log_q, score = self.base.score(frozen.base, fixed, couplings)
        _, log_q, score = self.integrate_with_score(frozen, fixed, log_q, score, couplings)
        # of φ once more and alone: a backward pass through log q and the score is the dearer part
        return self._solve(motion, start, params), log_q, score

    def integrate_with_score(
        self,
        params: Params,
        phi: Configurations,
        log_q: Float[Array, " n"],
        score: Configurations,
        couplings: Point,
        save_at: Times | None = None,
    ) -> tuple[
        Configurations | Saved,
        Float[Array, " n"] | Float[Array, "times n"],
        Configurations | Saved,
    ]:
        """Carry configurations of known log q and score from t = 0 to 1.

        Returns the three at the end, or with a leading axis at the times `save_at`.
        """

        def rhs(t, state, params):
            def of_one(phi, score):
                (v, divergence), pullback = jax.vjp(
                    lambda x: self.velocity(params, t, x, couplings), phi
                )
                return v, -divergence, -pullback((score, jnp.ones_like(divergence)))[0]

            return jax.vmap(of_one)(state[0], state[2])

        return self._solve(rhs, (phi, log_q, score), params, save_at=save_at)

    def log_prob(self, params: Params, phi: Configurations, couplings: Point) -> Float[Array, " n"]:
        """log q_s of configurations, by the flow run backwards."""
        start, change = self.integrate(params, phi, couplings, start=1.0, end=0.0)
        return self._base_log_prob(params, start, couplings) - change

    def log_prob_tangents(
        self,
        params: Params,
        phi: Configurations,
        couplings: Point,
        d_phi: Float[Array, " k n *shape"],
        d_couplings: Point,
    ) -> tuple[Float[Array, " n"], Float[Array, "k n"]]:
        """log q_s of configurations, and its derivatives in k directions.

        A direction moves configurations, d_phi, and couplings, d_couplings with a leading axis of
        k. The tangents of the flow run backwards are solved for with it, so that
        the result can be differentiated by the parameters as any other.
        """

        def rhs(t, state, params):
            def of_one(x, d_x):
                def field(x, theta):
                    v, divergence = self.velocity(params, t, x, theta)
                    return v, -divergence

                motion, derivative = jax.linearize(field, x, couplings)
                return *motion, *jax.vmap(derivative)(d_x, d_couplings)

            return jax.vmap(of_one, in_axes=(0, 1), out_axes=(0, 0, 1, 1))(state[0], state[2])

        zeros = jnp.zeros(d_phi.shape[:2], phi.dtype)
        state = (phi, zeros[0], d_phi, zeros)
        start, change, d_start, d_change = self._solve(rhs, state, params, 1.0, 0.0)
        log_q, d_log_q = self.base.log_prob_tangents(
            params.base, start, couplings, d_start, d_couplings
        )
        return log_q - change, d_log_q - d_change

    def sensitivities(
        self, params: Params, phi: Configurations, couplings: Point, names: Sequence[str]
    ) -> tuple[Float[Array, " n"], Float[Array, "k n"]]:
        """log q_s of configurations, and ∂_θ log q_s for the couplings `names`."""
        units = jnp.eye(len(names), dtype=phi.dtype)
        still = jax.tree.map(lambda _: jnp.zeros(len(names), phi.dtype), couplings)
        directions = still._replace(**dict(zip(names, units, strict=True)))
        d_phi = jnp.zeros((len(names), *phi.shape), phi.dtype)
        return self.log_prob_tangents(params, phi, couplings, d_phi, directions)

    def trajectory(
        self,
        params: Params,
        key: jax.Array,
        couplings: Point,
        n: int,
        times: Float[np.ndarray, " T"],
    ) -> tuple[Float[Array, " T n *shape"], Float[Array, "T n"]]:
        """n trajectories at `times`: configurations and log q."""
        start, log_q = self.base.draw(params.base, key, couplings, n)
        path, change = self.integrate(params, start, couplings, save_at=times)
        return path, log_q[None] + change

    def _solve(
        self,
        rhs: Callable[[Any, Any, Any], Any],
        state: Any,
        params: Params,
        start: Scalar | float = 0.0,
        end: Scalar | float = 1.0,
        save_at: Times | None = None,
    ) -> Any:
        """The solution of state' = rhs(t, state, params) at `end`, or at the times `save_at`."""
        if save_at is None:
            times = jnp.linspace(start, end, self.steps + 1)
        else:
            times = jnp.asarray(_steps(float(start), float(end), self.steps, save_at))
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(rhs),
            diffrax.Tsit5(),
            t0=start,
            t1=end,
            dt0=None,
            y0=state,
            args=params,
            stepsize_controller=_Steps(times),
            saveat=diffrax.SaveAt(t1=True)
            if save_at is None
            else diffrax.SaveAt(ts=jnp.asarray(save_at)),
            max_steps=len(times),
            adjoint=diffrax.RecursiveCheckpointAdjoint(checkpoints=len(times)),
            throw=False,  # nothing can fail, and see _Steps
        )
        path = solution.ys
        return path if save_at is not None else jax.tree.map(lambda x: x[0], path)

    def _base_log_prob(
        self, params: Params, phi: Configurations, couplings: Point
    ) -> Float[Array, " n"]:
        return jax.vmap(lambda x: self.base.log_prob(params.base, x, couplings))(phi)


class _Steps(diffrax.StepTo):
    """Steps to given times, which are right here: unchecked.

    diffrax checks them in a program that calls back to Python, and such a program jax can't keep
    for the next process.
    """

    def wrap(self, direction: Any) -> "_Steps":
        return _Steps(self.ts * direction)

    def init(self, *args: Any) -> tuple[jax.Array, int]:
        return self.ts[1], 2


def _steps(start: float, end: float, count: int, save_at: Times) -> Float[np.ndarray, " steps"]:
    """Where the solver's steps end: `count` equal ones, and the times to be saved among them."""
    times = np.linspace(start, end, count + 1)
    close = 1e-6 * abs(end - start)  # steps shorter than this would only add rounding
    inner = [t for t in save_at if min(abs(t - start), abs(t - end)) > close]
    kept = [t for t in times[1:-1] if all(abs(t - other) > close for other in inner)]
    between = sorted({*inner, *kept}, reverse=end < start)
    return np.array([start, *between, end])
