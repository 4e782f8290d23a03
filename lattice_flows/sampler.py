"""A trained flow, ready to draw: configurations with exact log-weights.

Couplings, base and action are evaluated in float64 where jax allows it; the field runs in the
precision it was trained in, unless `double`. Draws are made in batches of one compiled size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lattice_flows.config import Config
from lattice_flows.ensemble import Ensemble
from lattice_flows.flow import Flow
from lattice_flows.integration import integrated_log_z
from lattice_flows.model import Model, build
from lattice_flows.params import Params
from lattice_flows.run import Run
from lattice_flows.transport import CouplingLine
from observables import Estimate
from theories import Theory

_BATCH = 2048
_GROUPS, _LARGEST_GROUP = 8, 512  # of trajectories, for thermodynamic integration


@dataclass(frozen=True, eq=False)
class Sampler:
    """A flow with its parameters."""

    config: Config
    model: Model
    params: Params
    provenance: dict[str, Any]

    @classmethod
    def load(cls, run: Run, double: bool = False) -> "Sampler":
        """The flow of a run as its latest checkpoint has it; the field in float64 if `double`."""
        model = build(run.config)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        trained = jnp.float64 if run.config.x64 else jnp.float32
        template = jax.tree.map(lambda x: np.empty(x.shape, trained), shapes)
        params = run.load({"params": template}, subset=True)["params"]
        if double:
            params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
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

    def draw(self, couplings: Any, key: jax.Array, n: int) -> Ensemble:
        """n independent configurations with log-weights; the same for the same key.

        Raises LatticeFlowsError if the flow diverges.
        """
        couplings = _arrays(couplings)
        batches = [self.model.draw(self.params, k, couplings, size) for k, size in _batches(key, n)]
        phi, log_weights = (np.concatenate(part)[:n] for part in zip(*batches, strict=True))
        return self._ensemble(couplings, phi, log_weights)

    def draw_grid(
        self, grid: Sequence[Any], key: jax.Array, n: int, first: int = 0, alone: bool = False
    ) -> Iterator[Ensemble]:
        """An ensemble of n configurations at each couplings of `grid`, in that order.

        A transport between couplings (transport.py) draws all that lie on one line from where it
        sets out by a single solution of its equation: those ensembles are of the same draws, on
        their way. Others are drawn point by point and independent; so are those of a transport if
        `alone`. Random numbers are those of points from number `first` on.
        """
        path = self.model.path
        if alone or not isinstance(path, CouplingLine):
            for i, couplings in enumerate(grid, start=first):
                yield self.draw(couplings, jax.random.fold_in(key, i), n)
            return
        drawn: dict[int, Ensemble] = {}
        for i, line in enumerate(path.anchor.lines(grid), start=first):
            drawn |= self._along(line, jax.random.fold_in(key, i), n, grid)
        for i in range(len(grid)):
            yield drawn.pop(i)

    def _along(
        self, line: Mapping[int, float], key: jax.Array, n: int, grid: Sequence[Any]
    ) -> dict[int, Ensemble]:
        """Ensembles at the points of one line, {place in the grid: time of the line}."""
        times = tuple(line.values())
        end = _arrays(grid[list(line)[-1]])
        batches = [
            self.model.draw_line(self.params, k, end, size, times) for k, size in _batches(key, n)
        ]
        phi, log_weights = (
            np.concatenate(part, axis=1)[:, :n] for part in zip(*batches, strict=True)
        )
        return {
            place: self._ensemble(grid[place], phi[i], log_weights[i])
            for i, place in enumerate(line)
        }

    def _ensemble(self, couplings: Any, phi: Any, log_weights: Any) -> Ensemble:
        provenance = {**self.provenance, "ode_steps": self.flow.steps}
        return Ensemble(self.theory, couplings, phi, log_weights, provenance, orbit=self.flow.odd)

    def integrated_log_z(self, couplings: Any, key: jax.Array, n: int = 4096) -> Estimate:
        """log Z by thermodynamic integration along the flow (integration.py), with its error.

        From n trajectories, 16 at least and 4096 at most.
        """
        keys = jax.random.split(key, _GROUPS)
        group = max(2, min(n // _GROUPS, _LARGEST_GROUP))
        values = _integrated(self.model, self.params, keys, _arrays(couplings), group)
        values = np.asarray(values, dtype=np.float64)
        return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(_GROUPS)))

    def log_weights(
        self, phi: NDArray[np.float64], couplings: Any, steps: int | None = None
    ) -> NDArray[np.float64]:
        """log(e^{-S}/q) of given configurations (n, *shape), by the flow run backwards.

        `steps` solver steps, the run's own number by default.
        """
        steps = self.flow.steps if steps is None else steps
        couplings = _arrays(couplings)
        size = min(len(phi), _BATCH)
        padding = -len(phi) % size
        padded = np.concatenate([phi, phi[:padding]])
        parts = [
            self.model.log_weights(self.params, padded[i : i + size], couplings, steps)
            for i in range(0, len(padded), size)
        ]
        return np.concatenate(parts)[: len(phi)].astype(np.float64)


@partial(jax.jit, static_argnums=(0, 4))
def _integrated(model: Model, params: Params, keys: jax.Array, couplings: Any, n: int) -> jax.Array:
    return jax.lax.map(lambda key: integrated_log_z(model, params, key, couplings, n), keys)


def _batches(key: jax.Array, n: int) -> list[tuple[jax.Array, int]]:
    """Keys and the one compiled size of batches that hold n draws together."""
    return [(k, min(n, _BATCH)) for k in jax.random.split(key, -(-n // _BATCH))]


def _arrays(couplings: Any) -> Any:
    """Couplings as arrays in jax's present precision, so that no value is compiled in."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(float)), couplings)
