"""Transport between couplings: a flow through coupling space, from where another flow ends.

    ∂_j S + ⟨∇S, u_j⟩ - ∇·u_j + C_j = 0,      C_j(θ) = ∂_j log Z = -⟨∂_j S⟩_θ

is the deformation equation in coupling space, one for each coupling θ_j. Where the fields u_j solve
it they carry draws of e^{-S(·; θ₀)} along any way θ(t) from θ₀, so that one solution of the flow's
equation visits every coupling on its way. The base is the density of a trained flow at θ₀, the path
f_t = S(·; θ(t)): at every t the draws have weights e^{-f_t}/q_t of their own, exact whatever the
fields are worth, whose mean is Z(θ(t)).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.flows.base import Base
from lattice_flows.flows.fields import Route, TransportFields
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import Path
from lattice_flows.runs.config import Config
from theories.shapes import Array, Configuration, Configurations, Point, Scalar


@dataclass(frozen=True)
class Anchor:
    """Couplings that a flow was trained on: `low` and `high` of each, equal where one was fixed."""

    low: Point
    high: Point

    @classmethod
    def of(cls, config: Config) -> "Anchor":
        """The couplings that a run was trained on."""
        ends = [v if isinstance(v, tuple) else (v, v) for v in config.couplings.values()]
        low, high = (config.make_theory().Couplings(*end) for end in zip(*ends, strict=True))
        return cls(low, high)

    def nearest(self, couplings: Point) -> Point:
        """θ₀, the trained couplings nearest to `couplings`; these themselves where trained on."""
        return jax.tree.map(jnp.clip, couplings, self.low, self.high)

    def line(self, t: Scalar | float, couplings: Point) -> Point:
        """θ(t) on the straight line from θ₀ to `couplings`."""
        return jax.tree.map(lambda a, b: a + t * (b - a), self.nearest(couplings), couplings)

    def lines(self, grid: Sequence[Point]) -> list[dict[int, float]]:
        """The points of a grid, sorted onto lines: {place in the grid: t on the line to its end}.

        The last of each line is its end, t = 1.
        """
        points = np.array([[float(x) for x in point] for point in grid])
        starts = np.clip(points, *np.array([self.low, self.high], dtype=float))
        away = points - starts
        unit = np.max(np.abs(away), axis=0)
        length = np.linalg.norm(away / np.where(unit > 0, unit, 1), axis=1)
        lines: dict[tuple[float, ...], list[int]] = {}
        for i in np.argsort(length, kind="stable"):
            direction = away[i] / max(length[i], 1e-300)
            lines.setdefault((*starts[i].round(9), *direction.round(9)), []).append(int(i))
        return [
            {i: float(length[i] / length[line[-1]]) if length[i] else 0.0 for i in line[:-1]}
            | {line[-1]: 1.0}
            for line in lines.values()
        ]


@dataclass(frozen=True)
class FlowBase(Base):
    """The density of a trained flow at the anchor's couplings; its parameters are the flow's."""

    flow: Flow
    anchor: Anchor

    @property
    def even(self) -> bool:
        return self.flow.odd

    @property
    def scale(self) -> float:
        return self.flow.base.scale

    def init(self) -> Params:
        """Parameters of the right shapes, to be replaced by trained ones."""
        return Params(self.flow.base.init(), self.flow.field.init(jax.random.key(0)))

    def energy(self, params: Params, phi: Configuration, couplings: Point) -> Scalar:
        return -self.flow.log_prob(params, phi[None], self.anchor.nearest(couplings))[0]

    def log_normalisation(self, params: Params, couplings: Point) -> Scalar:
        return jnp.zeros((), jnp.result_type(*couplings))

    def sample(self, params: Params, key: jax.Array, couplings: Point) -> Configuration:
        return self.draw(params, key, couplings, 1)[0][0]

    def draw_with_score(
        self, params: Params, key: jax.Array, couplings: Point, n: int
    ) -> tuple[Configurations, Float[Array, " n"], Configurations]:
        return self.flow.sample_with_score(params, key, self.anchor.nearest(couplings), n)

    def log_prob_tangents(
        self,
        params: Params,
        phi: Configurations,
        couplings: Point,
        d_phi: Float[Array, " k n *shape"],
        d_couplings: Point,
    ) -> tuple[Float[Array, " n"], Float[Array, "k n"]]:
        here = self.anchor.nearest(couplings)
        moved = jax.vmap(lambda d: jax.jvp(self.anchor.nearest, (couplings,), (d,))[1])(d_couplings)
        return self.flow.log_prob_tangents(params, phi, here, d_phi, moved)

    def draw(
        self, params: Params, key: jax.Array, couplings: Point, n: int
    ) -> tuple[Configurations, Float[Array, " n"]]:
        return self.flow.sample(params, key, self.anchor.nearest(couplings), n)


@dataclass(frozen=True)
class CouplingLine(Path):
    """f_t = S(·; θ(t)) on the straight line from the anchor, symmetrised for an odd flow."""

    base: FlowBase

    @property
    def anchor(self) -> Anchor:
        return self.base.anchor

    def energy(self, params: Params, t: Scalar, phi: Configuration, couplings: Point) -> Scalar:
        return self.target(phi, self.anchor.line(t, couplings))


def carry(
    fields: TransportFields,
    flow: Flow,
    params: Params,
    phi: Configurations,
    route: Route,
    couplings: Point,
) -> tuple[Configurations, Float[Array, " n"]]:
    """Carry configurations along any `route` that ends at `couplings`.

    Solved with the steps of `flow`. Returns them and the change of log q.
    """
    along = Flow(flow.base, fields.along(route), flow.steps)
    return along.integrate(params, phi, couplings)
