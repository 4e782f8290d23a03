"""The training: a path, walkers along it, and two least-squares problems.

1. *A rough path*: the mass term ν at some times, so that short Markov chains have the same long
   waves there as at the target (path_search.py).
2. *Walkers*: chains annealed from the base through all nodes.
3. *The path polished*: a small field and the change of the path are solved for together, and the
   walkers moved on, a few times. Where the residual is least, the path is easiest to follow.
4. *A first flow*, of a medium field. Its own draws at each node, moved by a few trajectories, are
   walkers that have long waves as they should be, which short chains have not on large lattices.
5. *The flow*: the rich field over these walkers.

Every stage is deterministic, given the seed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows.base.massive import least_mass
from lattice_flows.flows.fields.linear import Features, basis, batch, features
from lattice_flows.flows.model import Model
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import MassivePath
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.mcmc.trajectories import walk
from lattice_flows.runs.compiling import compiled
from lattice_flows.training.least_squares.moments import Rows
from lattice_flows.training.least_squares.nodes import Nodes
from lattice_flows.training.least_squares.path_search import search
from lattice_flows.training.least_squares.solve import Solution, solve
from theories.lattice import laplacian_eigenvalues
from theories.shapes import Array, Configurations

FIRST, SECOND = 1024, 3072  # walkers a node, of the first flow and of the second
ROUNDS = 3
_OF_DRAWS = 1000  # a key that no time uses
_WIDE = 0.25  # of the first steps of chains, e^-1.4


class State(NamedTuple):
    """All that a training goes on from. walkers: (nodes, n, *shape), as many as there are yet."""

    params: Params
    walkers: Float[np.ndarray, " nodes n *shape"]
    log_step: Float[np.ndarray, " nodes"]
    stage: int


class Solver:
    """The stages of a training, one after the other."""

    def __init__(
        self, model: Model, seed: int, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        assert isinstance(model.path, MassivePath)  # Config sees to it
        self.base, self.nodes = model.path.base, Nodes.of(model.couplings)
        # an action that is even at all of the couplings need not be symmetrised, which costs twice
        symmetric = self.base.theory.is_symmetric(jax.tree.map(np.asarray, self.nodes.points()))
        self.path = replace(model.path, even=not symmetric)
        self.model, self.key, self._interrupted = model, jax.random.key(seed), interrupted
        self.shape = self.base.theory.shape
        self._walk = compiled(self._walked, static_argnums=5)
        self._points = self.nodes.all_points()
        self._times = self.nodes.all_times()

    def begin(self) -> State:
        params = self.model.init(jax.random.fold_in(self.key, 0))
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
        return State(
            params,
            np.zeros((len(self._times), 0, *self.shape), np.float32),
            np.zeros(len(self._times), np.float32),
            0,
        )

    @property
    def stages(self) -> list[Callable[[State], tuple[State, dict[str, float]]]]:
        polish = [self._polish] * ROUNDS
        return [self._find_path, self._anneal, *polish, self._first, self._second]

    def walkers(self, stage: int) -> tuple[int, ...]:
        """The shape of the walkers after so many stages."""
        many = 0 if stage < 2 else FIRST if stage < len(self.stages) - 1 else SECOND
        return len(self._times), many, *self.shape

    def _ask(self) -> None:
        """Stop here, where that is asked for; the stage is lost."""
        if self._interrupted():
            raise Interrupted

    def advance(self, state: State) -> tuple[State, dict[str, float]]:
        """The next stage, and what there is to say of it."""
        state, said = self.stages[state.stage](state)
        return state._replace(stage=state.stage + 1), said

    # -- stages --------------------------------------------------------------------------------

    def _find_path(self, state: State) -> tuple[State, dict[str, float]]:
        found, susceptibility = search(
            self.path, state.params, self._key(state), self.nodes, self._ask
        )
        return state._replace(params=found), {"susceptibility": susceptibility}

    def _anneal(self, state: State) -> tuple[State, dict[str, float]]:
        """From draws of the base through one time after the other."""
        params, many = state.params, len(self.nodes.position)
        points, key = self.nodes.points(), self._key(state)

        def draws(key: jax.Array, point: Any) -> Configurations:
            return self.base.draw(params.base, key, point, FIRST)[0]

        phi = jax.jit(jax.vmap(draws))(
            jax.random.split(jax.random.fold_in(key, _OF_DRAWS), many), points
        )
        log_step, walkers = jnp.full(many, np.log(_WIDE), jnp.float32), []
        for i, t in enumerate(self.nodes.t):
            self._ask()
            at = jnp.full(many, t, jnp.float32)
            phi, log_step, _ = self._walk(
                params, jax.random.fold_in(key, i), at, points, (phi, log_step), 8
            )
            walkers.append((np.asarray(phi), np.asarray(log_step)))
        return state._replace(
            walkers=np.concatenate([w for w, _ in walkers]),
            log_step=np.concatenate([s for _, s in walkers]),
        ), {}

    def _polish(self, state: State) -> tuple[State, dict[str, float]]:
        state = self._moved(state, 10)
        state, found = self._bend(state, "small")
        return state, self._said(found)

    def _first(self, state: State) -> tuple[State, dict[str, float]]:
        state = self._moved(state, 10)
        chosen = features(self.shape, "medium")
        squash = self._squash(chosen, state)
        found = self._solve(state, chosen, squash)
        drawn = self._draws(state, chosen, found, squash)
        state = self._moved(state._replace(walkers=drawn), 6)
        few = state._replace(walkers=drawn[:, :FIRST])
        bent, _ = self._bend(few, "medium")
        state = self._moved(state._replace(params=bent.params), 4)
        return state, self._said(found)

    def _second(self, state: State) -> tuple[State, dict[str, float]]:
        chosen = features(self.shape)
        squash = self._squash(chosen, state)
        found = self._solve(state, chosen, squash)
        field = {
            "coefficients": jnp.asarray(found.coefficients, jnp.float32),
            "squash": squash,
        }
        return state._replace(params=state.params._replace(field=field)), self._said(found)

    # -- their parts -----------------------------------------------------------------------------

    def _key(self, state: State, part: int = 0) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(self.key, 1 + state.stage), part)

    def _walked(
        self,
        params: Params,
        key: jax.Array,
        t: Array,
        points: Any,
        walkers: tuple[Array, Array],
        count: int,
    ) -> tuple[Array, Array, Array]:
        phi, log_step = walkers

        def energy(group: Array, x: Array) -> Array:
            at = jax.tree.map(lambda value: value[group], points)
            return self.path.energy(params, t[group], x, at)

        stiffness = jax.vmap(self.base.theory.stiffness)(points)
        momenta = jnp.asarray(laplacian_eigenvalues(self.shape), phi.dtype)
        wide = stiffness.reshape(-1, *(1,) * len(self.shape)).astype(phi.dtype)
        root = 1 / jnp.sqrt(2 * wide * (momenta[None] + least_mass(self.shape)))
        return walk(energy, key, phi, root, log_step.astype(phi.dtype), count)

    def _moved(self, state: State, count: int) -> State:
        """The walkers after so many trajectories."""
        phi, log_step, _ = self._walk(
            state.params,
            self._key(state, count),
            jnp.asarray(self._times, jnp.float32),
            self._points,
            (jnp.asarray(state.walkers), jnp.asarray(state.log_step, jnp.float32)),
            count,
        )
        return state._replace(walkers=np.asarray(phi), log_step=np.asarray(log_step))

    def _squash(self, chosen: Features, state: State) -> Array:
        """The scales of the channels, from the walkers at the last time."""
        last = state.walkers[-len(self.nodes.position) :]
        phi = jnp.asarray(last.reshape(-1, *self.shape)[:FIRST])
        psi = jax.vmap(chosen.smeared)(phi)
        axes = (0, *range(2, psi.ndim))
        return jnp.asarray(chosen.widths, psi.dtype) * jnp.sqrt(jnp.mean(psi**2, axis=axes))

    def _basis(self) -> np.ndarray:
        ranges = self.nodes.couplings.ranges
        times = jnp.asarray(self._times, jnp.float32)
        of = jax.vmap(lambda t, point: basis(t, point, ranges))
        return np.asarray(of(times, self._points), np.float64)

    def _moments(self, state: State, chosen: Features, squash: Array) -> list[Any]:
        rows = Rows(self.path, chosen)
        found = []
        for i, (t, phi) in enumerate(zip(self._times, state.walkers, strict=True)):
            self._ask()
            point = jax.tree.map(lambda x, i=i: x[i], self._points)
            found.append(rows.moments(state.params, squash, np.float32(t), point, phi))
        return found

    def _solve(self, state: State, chosen: Features, squash: Array) -> Solution:
        moments = self._moments(state, chosen, squash)
        return solve(moments, self._basis(), self.nodes.all_weights())

    def _bend(self, state: State, size: str) -> tuple[State, Solution]:
        """The path where a field of this size leaves the least residual."""
        chosen = features(self.shape, size)
        moments = self._moments(state, chosen, self._squash(chosen, state))
        rates = jax.vmap(jax.jacfwd(self.path.slopes, argnums=0), (0, 0))
        of = np.asarray(rates(jnp.asarray(self._times, jnp.float32), self._points), np.float64)
        shape = state.params.path.shape
        found = solve(
            moments, self._basis(), self.nodes.all_weights(), of.reshape(len(self._times), -1)
        )
        path = np.asarray(state.params.path) + found.bends.reshape(shape)
        return state._replace(
            params=state.params._replace(path=np.asarray(path, np.float32))
        ), found

    def _draws(self, state: State, chosen: Features, found: Solution, squash: Array) -> np.ndarray:
        """Draws of the flow that has been found, at every node."""
        theta = jnp.asarray(found.coefficients, jnp.float32)
        ranges, times = self.nodes.couplings.ranges, [0.0, *self.nodes.t]

        def velocity(t: Array, x: Array, point: Any) -> Array:
            return chosen.velocity(theta @ basis(t, point, ranges), squash, x)[0]

        def carried(x: Configurations, point: Any, start: Array, end: Array) -> Configurations:
            def step(x: Configurations, i: Array) -> tuple[Configurations, None]:
                h = (end - start) / 2
                t = start + i * h
                along = jax.vmap(velocity, (None, 0, None))
                a = along(t, x, point)
                b = along(t + h / 2, x + h / 2 * a, point)
                c = along(t + h / 2, x + h / 2 * b, point)
                d = along(t + h, x + h * c, point)
                return x + h / 6 * (a + 2 * b + 2 * c + d), None

            return jax.lax.scan(step, x, jnp.arange(2, dtype=x.dtype))[0]

        carry = compiled(carried)
        draw = compiled(lambda key, point: self.base.draw(state.params.base, key, point, size)[0])
        size = batch(int(np.prod(self.shape)))
        points, key = self.nodes.points(), self._key(state, 7)
        many = len(self.nodes.position)
        drawn = np.empty((len(self._times), SECOND, *self.shape), np.float32)
        for e in range(many):
            point = jax.tree.map(lambda x, e=e: x[e], points)
            for first in range(0, SECOND, size):
                self._ask()
                phi = draw(jax.random.fold_in(jax.random.fold_in(key, e), first), point)
                for i, t in enumerate(self.nodes.t):
                    phi = carry(phi, point, np.float32(times[i]), np.float32(t))
                    last = min(first + size, SECOND)
                    drawn[i * many + e, first:last] = phi[: last - first]
        return drawn

    def _said(self, found: Solution) -> dict[str, float]:
        """The residual: its mean over the nodes, and its largest."""
        weights = self.nodes.all_weights()
        return {"residual": float(weights @ found.residual), "worst": float(found.residual.max())}
