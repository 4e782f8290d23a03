"""Reverse KL by its path gradient, Vaitl et al., arXiv:2206.09016 and 2403.15881.

A parameter of the field changes log q_s + S_s at a draw φ in two ways: it moves the draw, and it
changes the density at a fixed place. The second part, ∂ log q_s(φ) at fixed φ, has the mean zero
under q_s and is noise. What is left is the path gradient

    ⟨ (∇ log q_s + ∇S_s)(φ) · ∂φ ⟩,

the mean gradient of reverse KL with another variance: where q_s = p_s the bracket vanishes draw by
draw, so that a flow which is nearly right is not driven off by noise. The value is that of
reverse_kl.py, and so is what the loss cannot see.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Float

from lattice_flows.flows.params import Params
from lattice_flows.training.objectives.reverse_kl import ReverseKL
from theories.shapes import Array, Point


@dataclass(frozen=True)
class PathGradient(ReverseKL):
    """The variational free energy of `ReverseKL`, with the path gradient for its gradient."""

    def free_energy(
        self, params: Params, key: jax.Array, couplings: Point, n: int
    ) -> Float[Array, " {n}"]:
        phi, log_q, score = self.problem.flow.sample_with_score(params, key, couplings, n)
        action, force = jax.vmap(
            jax.value_and_grad(lambda x: self.problem.path.target(x, couplings))
        )(phi)
        pull = jax.lax.stop_gradient(score + force)
        # zero, with the gradient pull · ∂φ
        path = jnp.sum(pull * (phi - jax.lax.stop_gradient(phi)), axis=tuple(range(1, phi.ndim)))
        return jax.lax.stop_gradient(log_q + action) + path
