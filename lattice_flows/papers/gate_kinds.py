"""Flows of known faults, to find out which checks see them.

Some are made of exact draws, so that density and weights are exact, too: draws at other couplings
(odd flows, resampled in their orbit), of one well alone, without domain walls, and Gaussians with
too little variance, the second moment of whose weights is infinite below half of the right one.
Others are flows: trained for too few steps, asked beyond their range, or carried to another lattice
and not trained there.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from lattice_flows.flows.model import build
from lattice_flows.io.interrupt import Interrupted
from lattice_flows.papers.experiment import Settings
from lattice_flows.runs.config import Config
from lattice_flows.sampling.sampler import Sampler
from lattice_flows.training.trainer import Trainer, advance
from lattice_flows.training.transfer import transferred
from observables.orbit import actions
from theories import FreeField, LatticeTheory, Phi4
from theories.lattice import laplacian_eigenvalues
from theories.transfer_matrix import TransferMatrix

Array = NDArray[np.float64]


class Kind(NamedTuple):
    """A flow: what it draws, (n, seed) -> configurations and log-weights, and its log p/q."""

    name: str
    theory: LatticeTheory
    couplings: Any
    draw: Callable[[int, int], tuple[Array, Array]]
    log_weights: Callable[[Array], Array]
    orbit: bool = True


def reweighted(
    name: str, at: float, drawn_at: float, kept: Callable[[Array], NDArray[np.bool_]] | None = None
) -> Kind:
    """Exact draws of φ⁴ theory on 16 sites at m = `drawn_at` for m = `at`, those `kept` alone.

    An odd flow, but for one that keeps a well.
    """
    theory = Phi4((16,))
    couplings, there = theory.from_values(m=at), theory.from_values(m=drawn_at)
    exact = TransferMatrix(theory, there)
    log_z, orbit = exact.log_z, kept is not one_well
    if kept is not None:
        log_z += np.log(np.mean(kept(exact.sample(np.random.default_rng(0), 65_536))))

    def log_density(phi: Array, couplings: Any) -> Array:
        s = -actions(theory, couplings, phi)
        return np.logaddexp(s, -actions(theory, couplings, -phi)) if orbit else s

    def log_weights(phi: Array) -> Array:
        ratio = log_density(phi, couplings) - log_density(phi, there) + log_z
        # never drawn: a weight beyond all others, for the forward ESS
        return ratio if kept is None else np.where(kept(phi), ratio, ratio + 100)

    def draw(n: int, seed: int) -> tuple[Array, Array]:
        phi = exact.sample(np.random.default_rng([1, seed]), n if kept is None else 3 * n)
        phi = phi if kept is None else phi[kept(phi)][:n]
        return phi, log_weights(phi)

    return Kind(name, theory, couplings, draw, log_weights, orbit)


def one_well(phi: Array) -> NDArray[np.bool_]:
    """Configurations of positive magnetization."""
    return phi.mean(axis=1) > 0


def aligned(phi: Array) -> NDArray[np.bool_]:
    """Configurations without domain walls."""
    return np.abs(np.sign(phi).sum(axis=1)) == phi.shape[1]


def gaussian(name: str, variances: list[float]) -> Kind:
    """A free field of mode variances that are the right ones times `variances`."""
    scale, theory = np.array(variances), FreeField((len(variances),))
    couplings = theory.from_values(mass_squared=1.0)
    right = 0.5 / (laplacian_eigenvalues(theory.shape) + 1)
    constant = 0.5 * np.sum(np.log(2 * np.pi * right * scale))

    def log_weights(phi: Array) -> Array:
        power = np.abs(np.fft.fft(phi, norm="ortho")) ** 2
        return 0.5 * np.sum(power / right * (1 / scale - 1), axis=1) + constant

    def draw(n: int, seed: int) -> tuple[Array, Array]:
        white = np.random.default_rng([2, seed]).standard_normal((n, len(scale)))
        phi = np.fft.ifft(np.sqrt(scale * right) * np.fft.fft(white)).real
        return phi, log_weights(phi)

    return Kind(name, theory, couplings, draw, log_weights)


def made() -> list[Kind]:
    """The flows made of exact draws, right ones first."""
    return [
        reweighted("right: exact draws", 0.5, 0.5),
        reweighted("right: draws at m .4 for .5", 0.5, 0.4),
        reweighted("right: draws at m .6 for .5", 0.5, 0.6),
        reweighted("draws at m .3 for .5", 0.5, 0.3),
        reweighted("draws at m .8 for .5", 0.5, 0.8),
        reweighted("a well lost, m .5", 0.5, 0.5, one_well),
        reweighted("a well lost, m 1", 1.0, 1.0, one_well),
        reweighted("no domain walls, m .5", 0.5, 0.5, aligned),
        gaussian("one mode of variance .2", [0.2, 1.0]),
        gaussian("one mode of variance .3", [0.3, 1.0]),
        gaussian("four modes of variance .3", [0.3] * 4),
        gaussian("four modes of variance .5", [0.5] * 4),
    ]


_RANGE = (0.25, 0.5)
STEPS = {"quick": (20, 60, 100, 500), "paper": (20, 60, 100, 500, 4000)}


def trained(settings: Settings) -> Iterator[Kind]:
    """One training of φ⁴ theory on 16 sites for m from .25 to .5, looked at on its way."""
    steps = STEPS[settings.preset]
    config = Config(
        "phi4",
        (16,),
        {"m": _RANGE, "lam": 1 / 16, "alpha": 0.01},
        steps=steps[-1],
        seed=settings.seed,
    )
    with jax.enable_x64(False):
        trainer = Trainer(config)
        state = trainer.init(jax.random.key(config.seed), None)
    sampler = Sampler(config, trainer.model, state.params, {})
    with settings.progress("train", config.steps) as report:
        for end in steps:
            with jax.enable_x64(False):
                while int(state.step) < end:
                    if settings.interrupted():
                        raise Interrupted("interrupted, nothing is kept: give the command again")
                    state, record = advance(trainer, state, end)
                    report(int(state.step), record)
            params = jax.tree.map(np.asarray, state.params)
            sampler = Sampler(config, trainer.model, params, {})
            yield _flow(f"trained {end} steps, m .5", sampler, 0.5)
    for m in (0.75, 1.0):
        yield _flow(f"trained to m .5, asked for {m:g}", sampler, m)
    larger = replace(config, shape=(32,))
    carried = transferred(sampler.params, config, larger)
    yield _flow("carried to 32 sites, m .5", Sampler(larger, build(larger), carried, {}), 0.5)


def _flow(name: str, sampler: Sampler, m: float) -> Kind:
    couplings = sampler.theory.from_values(m=m)
    assert isinstance(sampler.theory, LatticeTheory)

    def draw(n: int, seed: int) -> tuple[Array, Array]:
        ensemble = sampler.draw(couplings, jax.random.key(seed + 1), n)
        assert ensemble.log_weights is not None
        return np.asarray(ensemble.configurations), ensemble.log_weights

    def log_weights(phi: Array) -> Array:
        return sampler.log_weights(phi, couplings)

    return Kind(name, sampler.theory, couplings, draw, log_weights, sampler.flow.odd)
