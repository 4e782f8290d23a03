"""Training: optimiser, checkpoints, and carrying on where a run was stopped.

Steps are taken in compiled chunks. Every random number comes from the run's seed and the number of
the step, and the state is saved at chunk boundaries alone, so a run that was stopped (or killed)
and resumed ends in the same bytes as one that was not. A step whose gradient is not finite is
counted and left out; too many in a row end the training, the last good checkpoint kept.

A run without a checkpoint is its configuration, its seed and what it takes over from another run,
which are saved before anything is compiled; its first checkpoint is the state before the first
step.
"""

import dataclasses
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lattice_flows.flows.model import build
from lattice_flows.flows.params import Params, refuse_not_finite
from lattice_flows.io.interrupt import Interrupted, writing
from lattice_flows.runs.compiling import compiled
from lattice_flows.runs.config import Config, Recipe
from lattice_flows.runs.run import Run
from lattice_flows.training.base_fit import fit_base
from lattice_flows.training.least_squares.train import train as solve
from lattice_flows.training.objectives import OBJECTIVES, Objective
from lattice_flows.training.problem import Problem
from theories.errors import LatticeFlowsError
from theories.outside import part

CHUNK = 20  # steps in one compiled call at most, and between two records of the history
_CHUNKS_A_SAVE = 5
_MAX_SKIPPED = 50  # steps in a row without a finite gradient
_ASKED_EVERY = 1.0  # seconds, whether to stop
_WARM_UP, _CLIP = 50, 10.0


class State(NamedTuple):
    """All that a training goes on from."""

    key: jax.Array  # never used itself: every step folds its number in
    params: Params
    optimiser: Any
    objective: Any
    step: jax.Array
    skipped: jax.Array  # in a row, up to now


class Plan(NamedTuple):
    """The numbers of a training that are not compiled in: one program serves them all."""

    fixed: Any  # couplings, ranges at their middle
    learning_rate: jax.Array
    warm_up: jax.Array  # steps
    steps: jax.Array
    opening: jax.Array  # steps over which ranges open

    @classmethod
    def of(cls, config: Config, fixed: Any) -> "Plan":
        warm_up = min(_WARM_UP, max(1, config.steps // 4))
        steps = max(config.steps, warm_up + 1)
        opening = config.curriculum * config.steps
        numbers: Any = (config.learning_rate, warm_up, steps, opening)
        return jax.tree.map(lambda x: np.asarray(x, jnp.result_type(float)), cls(fixed, *numbers))

    def rate(self, count: Any) -> jax.Array:
        """Adam's learning rate after `count` updates: a linear rise, then a cosine down to 0."""
        count = jnp.asarray(count, self.steps.dtype)
        rise = count / self.warm_up
        fall = jnp.minimum((count - self.warm_up) / (self.steps - self.warm_up), 1)
        return self.learning_rate * jnp.where(rise < 1, rise, 0.5 * (1 + jnp.cos(jnp.pi * fall)))


class Trainer:
    """The compiled pieces of a training: `init` makes its state, `advance` carries it on.

    Programs do not know the numbers of the `Plan`: trainings that differ in nothing else find them
    in jax's persistent cache. Data sets that an objective draws (objectives/likelihood.py) are
    compiled in.
    """

    def __init__(self, config: Config):
        self.config = config
        self.model = build(config)
        self.problem = Problem.of(self.model)
        self.objective = part(config.objective, OBJECTIVES)(self.problem)
        self.dtype = jnp.float64 if config.x64 else jnp.float32
        self.pace = 1  # steps in about a second, at most CHUNK
        self._compiled_base = compiled(self._base)
        self._compiled_init = compiled(self._init)
        self._compiled_advance = compiled(self._advance)

    @property
    def plan(self) -> Plan:
        """In jax's present precision."""
        return Plan.of(self.config, self.model.couplings.fixed)

    def init(self, key: jax.Array, known: Params | None = None) -> State:
        """The state before the first step: the base fitted, the objective's walkers annealed.

        What is not None of the `known` parameters is taken as it is.
        """
        plan, known = self.plan, known or Params(None, None, None, None)
        if known.base is None:  # a program of its own: what is compiled is kept where one is lost
            known = known._replace(base=self._compiled_base(plan, key))
        return self._compiled_init(plan, key, known)

    def shapes(self, key: jax.Array) -> State:
        """Shapes and types of the state, without computing it.

        Of the plain functions: jax does not trace a program that has compiler options of its own.
        """
        plan = self.plan
        base = jax.eval_shape(self._base, plan, key)
        return jax.eval_shape(self._init, plan, key, Params(base, None, None, None))

    def advance(self, state: State, steps: int) -> tuple[State, dict[str, float]]:
        """The state `steps` steps on, and the means of their metrics, of CHUNK at most."""
        state, metrics = self.take(state, steps)
        return state, _means([metrics])

    def take(self, state: State, steps: int) -> tuple[State, dict[str, np.ndarray]]:
        """The state `steps` steps on, and the metrics of each of them, of CHUNK at most."""
        state, metrics = self._compiled_advance(self.plan, state, np.int32(steps))
        return state, {name: np.asarray(values)[:steps] for name, values in metrics.items()}

    def _objective(self, plan: Plan) -> Objective:
        """The objective with the couplings of the plan in place of numbers."""
        couplings = dataclasses.replace(self.problem.couplings, fixed=plan.fixed)
        problem = dataclasses.replace(self.problem, couplings=couplings)
        return dataclasses.replace(cast(Any, self.objective), problem=problem)

    def _optimiser(self, plan: Plan) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(_CLIP), optax.adam(plan.rate))

    def _base(self, plan: Plan, key: jax.Array) -> Any:
        couplings = dataclasses.replace(self.model.couplings, fixed=plan.fixed)
        return fit_base(self.model.flow.base, couplings, _keys(key)[2])

    def _init(self, plan: Plan, key: jax.Array, known: Params) -> State:
        key, field_key, _, objective_key = _keys(key)
        given = {name: value for name, value in known._asdict().items() if value is not None}
        params = self.model.init(field_key)._replace(**given)
        params = jax.tree.map(lambda x: jnp.asarray(x, self.dtype), params)
        return State(
            key,
            params,
            self._optimiser(plan).init(_trained(params)),
            self._objective(plan).init(params, objective_key),
            jnp.zeros((), jnp.int32),
            jnp.zeros((), jnp.int32),
        )

    def _advance(
        self, plan: Plan, state: State, steps: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        """`steps` steps, and their metrics in the first places of arrays (CHUNK,).

        The number is no part of the program, so that the last chunk of a training is not compiled
        anew, and a chunk may be gone through in parts.
        """
        step = jax.jit(partial(self._step, plan))  # traced once
        shapes = jax.eval_shape(step, state)[1]
        metrics = jax.tree.map(lambda x: jnp.zeros((CHUNK, *x.shape), x.dtype), shapes)

        def body(i: jax.Array, carry: tuple) -> tuple:
            state, metrics = carry
            state, of_step = step(state)
            return state, jax.tree.map(lambda all, one: all.at[i].set(one), metrics, of_step)

        return jax.lax.fori_loop(0, steps, body, (state, metrics))

    def _step(self, plan: Plan, state: State) -> tuple[State, dict[str, jax.Array]]:
        key, objective = jax.random.fold_in(state.key, state.step), self._objective(plan)

        def loss(trained: Params):
            params = trained._replace(base=state.params.base)
            return objective.loss(params, state.objective, key, self._fraction(plan, state.step))

        (value, (known, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(
            _trained(state.params)
        )
        norm = optax.tree.norm(gradient)
        trained = _trained(state.params)
        updates, optimiser = self._optimiser(plan).update(gradient, state.optimiser, trained)
        learned = jax.tree.map(jnp.add, trained, updates)
        taken = State(
            state.key,
            learned._replace(base=state.params.base),
            optimiser,
            known,
            state.step + 1,
            jnp.zeros_like(state.skipped),
        )
        left_out = state._replace(step=state.step + 1, skipped=state.skipped + 1)
        finite = jnp.isfinite(norm) & jnp.isfinite(value)
        metrics = {"loss": value, **metrics, "gradient_norm": norm}
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), taken, left_out), metrics

    def _fraction(self, plan: Plan, step: jax.Array) -> jax.Array:
        """How far the coupling ranges are open."""
        if self.config.curriculum == 0:
            return jnp.ones((), self.dtype)
        return jnp.clip(step.astype(self.dtype) / plan.opening.astype(self.dtype), 0.02, 1.0)


def trainer_for(config: Config) -> Trainer:
    """The trainer of `config`; the same, compiled once, for trainings that differ in the seed."""
    return _trainer(Recipe.of(config))


@lru_cache(maxsize=2)
def _trainer(recipe: Recipe) -> Trainer:
    return Trainer(recipe.config)


def _keys(key: jax.Array) -> jax.Array:
    """Of the steps, the field, the base and the objective."""
    return jax.random.split(key, 4)


def _trained(params: Params) -> Params:
    """What the optimiser sees: all but the base."""
    return params._replace(base=())


def advance(
    trainer: Trainer, state: State, total: int, interrupted: Callable[[], bool] = lambda: False
) -> tuple[State, dict[str, float]]:
    """The state a chunk of steps on, `total` in all at most, and the means of the metrics.

    Raises Interrupted, the chunk being lost, where `interrupted` says so within it (it is asked
    about every second), and LatticeFlowsError if the training diverges.
    """
    first, parts = int(state.step), []
    left, asked = min(CHUNK, total - first), time.monotonic()
    while left:
        begin = time.monotonic()
        if begin - asked > _ASKED_EVERY:
            asked = begin
            if interrupted():
                raise Interrupted
        steps = min(left, trainer.pace)
        state, metrics = trainer.take(state, steps)
        seconds = (time.monotonic() - begin) / steps
        trainer.pace = int(np.clip(_ASKED_EVERY / seconds, 1, CHUNK))
        parts.append(metrics)
        left -= steps
    allowed = _MAX_SKIPPED if int(state.step) < total else CHUNK
    if int(state.skipped) >= min(allowed, total):
        raise LatticeFlowsError(
            f"the training diverged at step {int(state.step)} (the gradient is not finite); the "
            "last good checkpoint is kept: train a new run with a smaller `learning_rate`"
        )
    return state, _means(parts)


def _means(parts: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """Over all steps: the same however many parts they were taken in."""
    return {
        name: float(np.mean(np.concatenate([part[name] for part in parts]), dtype=np.float64))
        for name in parts[0]
    }


def train(
    run: Run,
    *,
    resume: bool,
    report: Callable[[int, dict[str, float]], None],
    interrupted: Callable[[], bool],
    save_every: float = 60.0,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Train `run` to its end, from its checkpoint where it has one and `resume`.

    By least squares where its configuration says so, stage by stage. Else the state is saved at
    the beginning, every 100 steps, and `save_every` seconds. `begun` is called when the first one
    stands, of a run that had none.

    Raises Interrupted once the state is saved, where `interrupted` says so, and LatticeFlowsError
    if the training diverges or a parameter is not finite (the last good checkpoint is kept), and
    where a run that has no checkpoint has lost what it takes over from another.
    """
    if run.config.method == "least-squares":
        solve(run, resume=resume, report=report, interrupted=interrupted, begun=begun)
        return
    trainer, key = trainer_for(run.config), jax.random.key(run.config.seed)
    if resume and run.has_checkpoint:
        state = State(**run.load(trainer.shapes(key)._asdict()))
        refuse_not_finite(state.params, f"the checkpoint of {run.path}")
        run.note_restart()
    else:
        if run.config.source is not None and not run.has_start:
            raise LatticeFlowsError(
                f"{run.path} has lost what it takes over from the run that it goes on from: "
                "make it anew, by a transfer of that run"
            )
        start = run.start(trainer.shapes(key).params._asdict()) if run.has_start else {}
        state = trainer.init(key, Params(*map(start.get, Params._fields)))
        _save(run, state)
        begun()
    step, total, saved = int(state.step), run.config.steps, time.monotonic()
    run.cut_history(step)
    while step < total:
        try:
            if interrupted():
                raise Interrupted
            state, record = advance(trainer, state, total, interrupted)
        except Interrupted:
            _save(run, state)
            raise
        step = int(state.step)
        with writing():
            run.append({"step": step, **record})
        report(step, record)
        due = step % (CHUNK * _CHUNKS_A_SAVE) == 0 or step == total
        if due or time.monotonic() - saved >= save_every:
            _save(run, state)
            saved = time.monotonic()


def _save(run: Run, state: State) -> None:
    refuse_not_finite(state.params, f"the training of {run.path} went wrong: its flow")
    run.save(state._asdict())
