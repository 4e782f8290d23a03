"""From a configuration to the flow it describes, and what it is to follow."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows.base import Tilted, make_base
from lattice_flows.flows.continuation import Anchor, CouplingLine, FlowBase
from lattice_flows.flows.couplings import Couplings
from lattice_flows.flows.fields import FIELDS, gradient, time_network, transport
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.params import Params, refuse_not_finite
from lattice_flows.flows.paths import PATHS, GradientPath, Path
from lattice_flows.flows.symmetry import resample_orbit
from lattice_flows.runs.compiling import compiled
from lattice_flows.runs.config import Config, Recipe
from lattice_flows.runs.run import Run
from theories import LatticeTheory
from theories.outside import part
from theories.shapes import Array, Configurations, Point


@dataclass(frozen=True, eq=False)
class Model:
    """The flow, the path from its base to the target, the couplings it is trained on."""

    config: Config
    flow: Flow
    path: Path
    couplings: Couplings

    def init(self, key: jax.Array) -> Params:
        """Parameters to begin with, those of the base not fitted yet."""
        path_key, constant_key = jax.random.split(jax.random.fold_in(key, 1))
        constant = ()
        if self.config.constant == "network":
            constant = time_network(self.flow.base.theory, self.config.ranges).init(constant_key)
        return Params(
            self.flow.base.init(), self.flow.field.init(key), self.path.init(path_key), constant
        )

    @cached_property
    def draw(self) -> Callable[..., tuple[Configurations, Float[Array, " n"]]]:
        """(params, key, couplings, n) -> draws and log-weights, compiled once for each n."""
        return compiled(self._draw, static_argnums=3)

    @cached_property
    def draw_line(self) -> Callable[..., tuple[Float[Array, " T n *shape"], Float[Array, "T n"]]]:
        """(params, key, couplings, n, times) -> draws and log-weights at `times` of the line to
        `couplings`, each with a leading axis of times, for a transport between couplings."""
        return compiled(self._draw_line, static_argnums=(3, 4))

    @cached_property
    def log_weights(self) -> Callable[..., Float[Array, " n"]]:
        """(params, phi, couplings, steps) -> log(e^{-S}/q), compiled once for each size."""
        return compiled(self._log_weights, static_argnums=3)

    def _draw(
        self, params: Params, key: jax.Array, couplings: Point, n: int
    ) -> tuple[Configurations, Float[Array, " n"]]:
        flow_key, orbit_key = jax.random.split(key)
        phi, log_q = self.flow.sample(params, flow_key, couplings, n)
        return self._weighed(orbit_key, phi, log_q, couplings)

    def _draw_line(
        self, params: Params, key: jax.Array, couplings: Point, n: int, times: tuple[float, ...]
    ) -> tuple[Float[Array, " T n *shape"], Float[Array, "T n"]]:
        path = self.path
        assert isinstance(path, CouplingLine)
        flow_key, orbit_key = jax.random.split(key)
        at = np.array(times)
        phi, log_q = self.flow.trajectory(params, flow_key, couplings, n, at)
        passed = jax.vmap(lambda t: path.anchor.line(t, couplings))(jnp.asarray(at))
        keys = jax.random.split(orbit_key, len(times))
        return jax.vmap(self._weighed)(keys, phi, log_q, passed)

    def _weighed(
        self, key: jax.Array, phi: Configurations, log_q: Float[Array, " n"], couplings: Point
    ) -> tuple[Configurations, Float[Array, " n"]]:
        """Draws of q_s, resampled in their orbit where the flow is odd, and their log-weights."""
        log_weights = -self._targets(phi, couplings) - log_q
        if not self.flow.odd:
            return phi, log_weights
        theory, keys = self.flow.base.theory, jax.random.split(key, len(phi))
        resampled = jax.vmap(lambda k, x: resample_orbit(theory, k, x, couplings))(keys, phi)
        return resampled, log_weights

    def _log_weights(
        self, params: Params, phi: Configurations, couplings: Point, steps: int
    ) -> Float[Array, " n"]:
        flow = replace(self.flow, steps=steps)
        return -self._targets(phi, couplings) - flow.log_prob(params, phi, couplings)

    def _targets(self, phi: Configurations, couplings: Point) -> Float[Array, " n"]:
        return jax.vmap(lambda x: self.path.target(x, couplings))(phi)


def build(config: Config) -> Model:
    """The model of `config`, parameters apart; the same object for trainings that share it."""
    return _build(Recipe.of(config))


@lru_cache(maxsize=4)  # what is compiled for a model is kept with it
def _build(recipe: Recipe) -> Model:
    config = recipe.config
    theory, ranges, couplings = config.make_theory(), config.ranges, Couplings.of(config)
    if config.continues:
        assert isinstance(theory, LatticeTheory)  # Config refuses others
        base = _trained_base(config.source_config)
        field = transport(theory, ranges, config.width).along(base.anchor.line)
        flow = Flow(base, field, config.ode_steps)
        return Model(config, flow, CouplingLine(base, flow.odd), couplings)
    base = make_base(config.base, theory, ranges, config.base_curvature, config.base_width)
    if config.interpolation == "constant-wells":
        base = Tilted(theory, base)
    if config.objective == "gradient-flow":
        learned = gradient(
            theory, couplings.fixed, ranges, config.base_width, config.half_box, config.width
        )
        flow = Flow(base, learned.field, config.ode_steps)
        return Model(config, flow, GradientPath(base, False, learned=learned), couplings)
    make_field = part(config.field, FIELDS)
    flow = Flow(base, make_field(theory, ranges, config.width, base.scale), config.ode_steps)
    path = part(config.interpolation, PATHS)(base, flow.odd, ranges, config.width)
    return Model(config, flow, path, couplings)


def _trained_base(source: Config) -> FlowBase:
    """The density of the flow of `source`, its parameters apart."""
    model = build(source)
    return FlowBase(model.flow.base.theory, model.flow, Anchor.of(source))


def trained(run: Run, double: bool = False) -> tuple[Model, Params]:
    """The model of a run with the parameters of its latest checkpoint; in float64 if `double`.

    Raises LatticeFlowsError where a parameter is not finite.
    """
    model = build(run.config)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    precision = jnp.float64 if run.config.x64 else jnp.float32
    template = jax.tree.map(lambda x: np.empty(x.shape, precision), shapes)
    params = run.load({"params": template}, subset=True)["params"]
    refuse_not_finite(params, f"the checkpoint of {run.path}")
    if double:
        params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
    return model, params
