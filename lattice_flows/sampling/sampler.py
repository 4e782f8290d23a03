"""A trained flow, ready to draw: configurations with exact log-weights.

Couplings, base and action are evaluated in float64 where jax allows it; the field runs in the
precision it was trained in, unless `double`. Draws are made in batches of one compiled size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lattice_flows.ensembles.blocks import Blocks
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.ensembles.rows import part
from lattice_flows.flows.continuation import CouplingLine
from lattice_flows.flows.flow import Flow
from lattice_flows.flows.model import Model, trained
from lattice_flows.flows.params import Params
from lattice_flows.runs.config import Config
from lattice_flows.runs.run import Run
from lattice_flows.sampling.integration import integrated_log_z
from observables import Estimate
from theories import Theory
from theories.shapes import Array, Draws, Point

Report = Callable[[int, dict[str, float]], None]
_GROUPS, _LARGEST_GROUP = 8, 512  # of trajectories, for thermodynamic integration


def _silent(done: int, metrics: dict[str, float]) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Sampler:
    """A flow with its parameters."""

    config: Config
    model: Model
    params: Params
    provenance: dict[str, Any]

    @classmethod
    def load(cls, run: Run, double: bool = False) -> "Sampler":
        """The flow of a run as its latest checkpoint has it; the field in float64 if `double`.

        Raises LatticeFlowsError where a parameter is not finite.
        """
        model, params = trained(run, double)
        steps = run.config.steps
        step = steps if run.finished else run.load({"step": 0}, subset=True)["step"]
        state = {"step": step, "steps": steps, "finished": run.finished}
        provenance = {"run": str(run.path), **run.provenance(), **state}
        return cls(run.config, model, params, provenance)

    @property
    def flow(self) -> Flow:
        return self.model.flow

    @property
    def theory(self) -> Theory:
        return self.flow.base.theory

    def draw(
        self,
        couplings: Point,
        key: jax.Array,
        n: int,
        blocks: Blocks | None = None,
        report: Report = _silent,
    ) -> Ensemble:
        """n independent configurations with log-weights; the same for the same key.

        `blocks` is where they are kept meanwhile; those that are there already are gone on from.
        `report` is called with the draws done. Raises LatticeFlowsError if the flow diverges,
        Interrupted as `Blocks.add` does.
        """
        couplings = _arrays(couplings)

        def batch(key: jax.Array, size: int) -> tuple[jax.Array, ...]:
            phi, log_weights = self.model.draw(self.params, key, couplings, size)
            return phi[None], log_weights[None]

        return self._drawn({0: 1.0}, [couplings], batch, key, n, blocks or Blocks(), report)[0]

    def lines(self, grid: Sequence[Point], alone: bool = False) -> list[dict[int, float]]:
        """The points of `grid` that are drawn together, each {index in the grid: time}.

        A transport between couplings (flows/continuation.py) draws all that lie on one line from
        where it sets out by a single solution of its equation: their draws are the same ones, on
        their way. Others are drawn point by point and independent; so are those of a transport if
        `alone`.
        """
        path = self.model.path
        if alone or not isinstance(path, CouplingLine):
            return [{index: 1.0} for index in range(len(grid))]
        return path.anchor.lines(grid)

    def draw_line(
        self,
        line: Mapping[int, float],
        grid: Sequence[Point],
        key: jax.Array,
        n: int,
        alone: bool = False,
        blocks: Blocks | None = None,
        report: Report = _silent,
    ) -> dict[int, Ensemble]:
        """Ensembles of n configurations at the points of one of the `lines` of `grid`, by index.

        As `draw`; `report` is called with the draws done at each of them.
        """
        *_, last = line
        if alone or not isinstance(self.model.path, CouplingLine):
            return {last: self.draw(grid[last], key, n, blocks, report)}
        times, end = tuple(line.values()), _arrays(grid[last])

        def batch(key: jax.Array, size: int) -> tuple[jax.Array, ...]:
            return self.model.draw_line(self.params, key, end, size, times)

        return self._drawn(line, grid, batch, key, n, blocks or Blocks(), report)

    def draw_grid(
        self, grid: Sequence[Point], key: jax.Array, n: int, alone: bool = False
    ) -> Iterator[Ensemble]:
        """An ensemble of n configurations at each couplings of `grid`, in that order.

        Drawn together as `lines` says.
        """
        drawn: dict[int, Ensemble] = {}
        waiting = 0
        for i, line in enumerate(self.lines(grid, alone)):
            drawn |= self.draw_line(line, grid, jax.random.fold_in(key, i), n, alone)
            while waiting in drawn:
                yield drawn.pop(waiting)
                waiting += 1

    def _drawn(
        self,
        line: Mapping[int, float],
        grid: Sequence[Point],
        batch: Callable[[jax.Array, int], tuple[jax.Array, ...]],
        key: jax.Array,
        n: int,
        blocks: Blocks,
        report: Report,
    ) -> dict[int, Ensemble]:
        """The ensembles of a line, from where `blocks` has got to."""
        size = min(n, self.flow.field.batch)  # batches of the one size that is compiled
        while blocks.done < n:
            phi, log_weights = batch(jax.random.fold_in(key, blocks.done // size), size)
            report(min(n, blocks.done + size), {})
            blocks.add({"configuration": phi, "log_weight": log_weights})
        phi, log_weights = blocks.joined("configuration", n), blocks.joined("log_weight", n)
        return {
            index: self._ensemble(
                grid[index], part(phi, i * n, n), np.asarray(part(log_weights, i * n, n))
            )
            for i, index in enumerate(line)
        }

    def _ensemble(self, couplings: Point, phi: Any, log_weights: Any) -> Ensemble:
        provenance = {**self.provenance, "ode_steps": self.flow.steps}
        return Ensemble(self.theory, couplings, phi, log_weights, provenance, orbit=self.flow.odd)

    def integrated_log_z(self, couplings: Point, key: jax.Array, n: int = 4096) -> Estimate:
        """log Z by thermodynamic integration along the flow (integration.py), with its error.

        From n trajectories, 16 at least and 4096 at most.
        """
        keys = jax.random.split(key, _GROUPS)
        group = max(2, min(n // _GROUPS, _LARGEST_GROUP))
        values = _integrated(self.model, self.params, keys, _arrays(couplings), group)
        values = np.asarray(values, dtype=np.float64)
        return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(_GROUPS)))

    def log_weights(
        self, phi: Draws, couplings: Point, steps: int | None = None
    ) -> Float[np.ndarray, " n"]:
        """log(e^{-S}/q) of given configurations, by the flow run backwards.

        `steps` solver steps, the run's own number by default.
        """
        steps = self.flow.steps if steps is None else steps
        couplings = _arrays(couplings)
        size = min(len(phi), self.flow.field.batch)
        padding = -len(phi) % size
        padded = np.concatenate([phi, phi[:padding]])
        parts = [
            self.model.log_weights(self.params, padded[i : i + size], couplings, steps)
            for i in range(0, len(padded), size)
        ]
        return np.concatenate(parts)[: len(phi)].astype(np.float64)


@partial(jax.jit, static_argnums=(0, 4))
def _integrated(
    model: Model, params: Params, keys: jax.Array, couplings: Point, n: int
) -> Float[Array, " groups"]:
    return jax.lax.map(lambda key: integrated_log_z(model, params, key, couplings, n), keys)


def _arrays(couplings: Point) -> Point:
    """Couplings as arrays in jax's present precision, so that no value is compiled in."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(float)), couplings)
