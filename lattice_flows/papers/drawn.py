"""What flows and chains say along a grid of couplings, kept with the runs.

Each point is kept as soon as it is drawn and measured: what takes hours can be stopped and started.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lattice_flows.ensembles.blocks import Parts
from lattice_flows.ensembles.ensemble import Ensemble
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.mcmc.hmc import hmc
from lattice_flows.papers.experiment import Settings
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.sampling.scan import scan
from observables import Estimate, Measurement
from theories.shapes import Point

_LIKELIHOOD = 256  # draws of a chain, which are as good as independent


class Chains(NamedTuple):
    """What the chains of a point say.

    r_hat: the largest R̂ of its observables. likelihood: NLL of each flow over their draws.
    """

    measurement: Measurement
    r_hat: float
    likelihood: list[Estimate]


def parts_of(settings: Settings, flows: Sequence[Sampler], *work: object) -> Parts:
    """Where draws are kept: a folder of the runs for these flows, drawn from in this way."""
    digest = hashlib.sha256(repr((settings.seed, *work)).encode())
    for flow in flows:
        for array in jax.tree.leaves(flow.params):
            digest.update(np.ascontiguousarray(array).data)
    folder = settings.runs / f"drawn-{digest.hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    return Parts(folder)


def of_flow(
    settings: Settings,
    way: str,
    sampler: Sampler,
    grid: Sequence[Point],
    key: jax.Array,
    draws: int,
    parts: Parts,
) -> list[Measurement]:
    """What draws of a flow say, at every point of the grid."""
    with _carried_on(), settings.progress(f"draw {way}", len(grid)) as report:
        found = scan(
            sampler,
            grid,
            key,
            draws,
            report,
            exact=False,
            parts=parts,
            interrupted=settings.interrupted,
        )
    return [result.measurement for result in found.results]


def of_chains(
    settings: Settings,
    flows: Sequence[Sampler],
    grid: Sequence[Point],
    key: jax.Array,
    size: tuple[int, int],
    parts: Parts,
) -> list[Chains]:
    """What Hamiltonian Monte Carlo says at every point, size = (chains, draws of each)."""
    found = []
    with _carried_on(), settings.progress("draw HMC", len(grid)) as report:
        for i, couplings in enumerate(grid):
            name = f"chains-{i}"
            kept = parts.load(name)
            if kept is None:
                ensemble = hmc(flows[0].theory, couplings, jax.random.fold_in(key, i), *size)
                one = _measured(ensemble, flows)
                parts.save(name, {"report": np.array(_as_json(one))})
                if settings.interrupted():
                    raise Interrupted
            else:
                one = _from_json(str(kept["report"]))
            found.append(one)
            report(i + 1, {"R_hat": one.r_hat})
    return found


@contextlib.contextmanager
def _carried_on() -> Iterator[None]:
    """An interruption says how to go on."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(
            "what is drawn is saved; to go on, give the same command again"
        ) from error


def _measured(ensemble: Ensemble, flows: Sequence[Sampler]) -> Chains:
    measurement = ensemble.measure()
    assert measurement.mixing is not None  # they are chains
    likelihood = [_likelihood(flow, ensemble) for flow in flows]
    return Chains(measurement, float(measurement.mixing.r_hat), likelihood)


def _likelihood(sampler: Sampler, ensemble: Ensemble) -> Estimate:
    """NLL over some draws of a chain, spread over all of it."""
    few = ensemble.configurations[:: max(1, len(ensemble) // _LIKELIHOOD)]
    log_weights = sampler.log_weights(few, ensemble.couplings)
    action: Callable[[Any], Any] = jax.vmap(lambda x: sampler.theory.action(x, ensemble.couplings))
    values = np.asarray(action(few)) + log_weights
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def _as_json(one: Chains) -> str:
    likelihood = [estimate.as_json() for estimate in one.likelihood]
    return json.dumps([one.measurement.as_json(), one.r_hat, likelihood])


def _from_json(text: str) -> Chains:
    measurement, r_hat, likelihood = json.loads(text)
    return Chains(
        Measurement.from_json(measurement), r_hat, [Estimate.from_json(x) for x in likelihood]
    )
