"""Training: optimiser, checkpoints, and carrying on where a run was stopped.

Steps are taken in compiled chunks. Every random number comes from the run's seed and the number of
the step, and the state is saved at chunk boundaries alone, so a run that was stopped (or killed)
and resumed ends in the same bytes as one that was not. A step whose gradient is not finite is
counted and left out; too many in a row end the training, the last good checkpoint kept.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lattice_flows.base_fit import fit_base
from lattice_flows.config import Config
from lattice_flows.interrupt import Interrupted
from lattice_flows.model import build
from lattice_flows.objectives import OBJECTIVES
from lattice_flows.params import Params
from lattice_flows.run import Run
from theories.errors import LatticeFlowsError

CHUNK = 20  # steps in one compiled call, and between two records of the history
_CHUNKS_A_SAVE = 5
_MAX_SKIPPED = 50  # steps in a row without a finite gradient
_WARM_UP, _CLIP = 50, 10.0


class State(NamedTuple):
    """All that a training goes on from."""

    key: jax.Array  # never used itself: every step folds its number in
    params: Params
    optimiser: Any
    objective: Any
    step: jax.Array
    skipped: jax.Array  # in a row, up to now


class Trainer:
    """The compiled pieces of a training: `init` makes its state, `advance` carries it on."""

    def __init__(self, config: Config):
        self.config = config
        self.model = build(config)
        self.objective = OBJECTIVES[config.objective](self.model.setting)
        self.dtype = jnp.float64 if config.x64 else jnp.float32
        warm_up = min(_WARM_UP, max(1, config.steps // 4))
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, config.learning_rate, warm_up, max(config.steps, warm_up + 1)
        )
        self.optimiser = optax.chain(optax.clip_by_global_norm(_CLIP), optax.adam(schedule))
        self.init = jax.jit(self._init)
        self.advance = jax.jit(self._advance, static_argnames="steps")

    def _init(self, key: jax.Array, known: Params | None = None) -> State:
        """The state before the first step: the base fitted, the objective's walkers annealed.

        What is not None of the `known` parameters is taken as it is.
        """
        key, *keys = jax.random.split(key, 4)
        field_key, base_key, objective_key = keys
        params = self.model.init(field_key)
        if known is None or known.base is None:
            base = fit_base(self.model.flow.base, self.model.couplings, base_key)
            params = params._replace(base=base)
        if known is not None:
            given = {name: value for name, value in known._asdict().items() if value is not None}
            params = params._replace(**given)
        params = jax.tree.map(lambda x: jnp.asarray(x, self.dtype), params)
        return State(
            key,
            params,
            self.optimiser.init(_trained(params)),
            self.objective.init(params, objective_key),
            jnp.zeros((), jnp.int32),
            jnp.zeros((), jnp.int32),
        )

    def _advance(self, state: State, steps: int) -> tuple[State, dict[str, jax.Array]]:
        """`steps` steps; the metrics are their means."""
        state, metrics = jax.lax.scan(lambda s, _: self._step(s), state, None, length=steps)
        return state, jax.tree.map(jnp.mean, metrics)

    def _step(self, state: State) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)

        def loss(trained: Params):
            params = trained._replace(base=state.params.base)
            return self.objective.loss(params, state.objective, key, self._opened(state.step))

        (value, (objective, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(
            _trained(state.params)
        )
        norm = optax.tree.norm(gradient)
        trained = _trained(state.params)
        updates, optimiser = self.optimiser.update(gradient, state.optimiser, trained)
        learned = jax.tree.map(jnp.add, trained, updates)
        taken = State(
            state.key,
            learned._replace(base=state.params.base),
            optimiser,
            objective,
            state.step + 1,
            jnp.zeros_like(state.skipped),
        )
        left_out = state._replace(step=state.step + 1, skipped=state.skipped + 1)
        finite = jnp.isfinite(norm) & jnp.isfinite(value)
        metrics = {"loss": value, **metrics, "gradient_norm": norm}
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), taken, left_out), metrics

    def _opened(self, step: jax.Array) -> jax.Array:
        """How far the coupling ranges are open."""
        if self.config.curriculum == 0:
            return jnp.ones((), self.dtype)
        opening = step.astype(self.dtype) / (self.config.curriculum * self.config.steps)
        return jnp.clip(opening, 0.02, 1.0)


def trainer_for(config: Config) -> Trainer:
    """The trainer of `config`; the same, compiled once, for trainings that differ in the seed."""
    return _trainer(dataclasses.replace(config, seed=0).to_json())


@lru_cache(maxsize=2)
def _trainer(text: str) -> Trainer:
    return Trainer(Config.from_json(text))


def _trained(params: Params) -> Params:
    """What the optimiser sees: all but the base."""
    return params._replace(base=())


def advance(trainer: Trainer, state: State, total: int) -> tuple[State, dict[str, float]]:
    """The state a chunk of steps on, `total` in all at most, and the means of the metrics.

    Raises LatticeFlowsError if the training diverges.
    """
    state, metrics = trainer.advance(state, steps=min(CHUNK, total - int(state.step)))
    if int(state.skipped) >= min(_MAX_SKIPPED, total):
        raise LatticeFlowsError(
            f"the training diverged at step {int(state.step)} (the gradient is not finite); the "
            "last good checkpoint is kept: train a new run with a smaller --learning-rate"
        )
    return state, {name: float(np.asarray(value)) for name, value in metrics.items()}


def train(
    run: Run,
    *,
    resume: bool,
    report: Callable[[int, dict[str, float]], None],
    interrupted: Callable[[], bool],
) -> None:
    """Train `run` to its end, from its checkpoint where it has one and `resume`.

    Raises Interrupted once the state is saved, where `interrupted` says so, and LatticeFlowsError
    if the training diverges.
    """
    trainer, key = trainer_for(run.config), jax.random.key(run.config.seed)
    if resume and run.has_checkpoint:
        state = State(**run.load(jax.eval_shape(trainer.init, key)._asdict()))
        run.note_restart()
    else:
        state = trainer.init(key)
    step, total = int(state.step), run.config.steps
    run.cut_history(step)
    while step < total:
        if interrupted():
            run.save(state._asdict())
            raise Interrupted
        state, record = advance(trainer, state, total)
        step = int(state.step)
        run.append({"step": step, **record})
        report(step, record)
        if step % (CHUNK * _CHUNKS_A_SAVE) == 0 or step == total:
            run.save(state._asdict())
