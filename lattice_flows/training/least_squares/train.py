"""A run by least squares: its stages, one after the other, each saved."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lattice_flows.flows.model import build
from lattice_flows.flows.params import refuse_not_finite
from lattice_flows.io.interrupt import Interrupted, writing
from lattice_flows.runs.run import Run
from lattice_flows.training.least_squares.solver import Solver, State

Report = Callable[[int, dict[str, float]], None]


def train(
    run: Run,
    *,
    resume: bool,
    report: Report,
    interrupted: Callable[[], bool],
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Train `run` to its end, from its checkpoint where it has one and `resume`.

    Raises Interrupted where `interrupted` says so: the stages that are finished are saved. Raises
    LatticeFlowsError where a parameter is not finite.
    """
    solver = Solver(build(run.config), run.config.seed, interrupted)
    if resume and run.has_checkpoint:
        state = _load(run, solver)
        run.note_restart()
    else:
        state = solver.begin()
        _save(run, state)
        begun()
    run.cut_history(state.stage)
    while state.stage < len(solver.stages):
        if interrupted():
            raise Interrupted
        state, said = solver.advance(state)
        with writing():
            run.append({"step": state.stage, **said})
        report(state.stage, said)
        _save(run, state)


def _load(run: Run, solver: Solver) -> State:
    stage = int(run.load({"step": 0}, subset=True)["step"])
    shapes = jax.tree.map(np.zeros_like, solver.begin()._asdict())
    shapes["walkers"] = np.zeros(solver.walkers(stage), np.float32)
    return _state(run.load(_tree(State(**shapes))))


def _save(run: Run, state: State) -> None:
    refuse_not_finite(state.params, f"the training of {run.path} went wrong: its flow")
    run.save(_tree(state))


def _tree(state: State) -> dict:
    tree = state._asdict()
    return {"step": np.int32(tree.pop("stage")), **tree}


def _state(tree: dict) -> State:
    state = State(**{name: value for name, value in tree.items() if name != "step"}, stage=0)
    params = jax.tree.map(jnp.asarray, state.params)
    return state._replace(params=params, stage=int(tree["step"]))
