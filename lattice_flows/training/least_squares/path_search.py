"""A rough path: the mass terms at which the long waves are as large as those of the target.

At knots in t, and at every node of the couplings, short chains follow p_t, and ν there moves by
stochastic approximation (Robbins & Monro) until Σ_k w_k |φ_k|², w_k = (1 + k̂²/4m²)^-2, is what it
is at t = 1. The mass of the base is where a free field has it, too. Polynomials in t and the
couplings are fitted to what is found.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import root_scalar

from lattice_flows.flows import chebyshev
from lattice_flows.flows.base.massive import least_mass
from lattice_flows.flows.params import Params
from lattice_flows.flows.paths import MassivePath
from lattice_flows.mcmc.trajectories import walk
from lattice_flows.runs.compiling import compiled
from lattice_flows.training.least_squares.nodes import Nodes
from theories.lattice import bond_energy, hartley, laplacian_eigenvalues
from theories.shapes import Array

_KNOTS, _CHAINS, _BLOCKS, _EACH = 8, 96, 60, 2
_GAIN, _LARGEST = 0.5, 1.5


def search(
    path: MassivePath,
    params: Params,
    key: jax.Array,
    nodes: Nodes,
    ask: Callable[[], None] = lambda: None,
) -> tuple[Params, float]:
    """Parameters with the base and the path that are found; and the largest susceptibility.

    `ask` is called now and then, and may raise.
    """
    theory = path.base.theory
    shape, mass = theory.shape, least_mass(theory.shape)
    momenta = laplacian_eigenvalues(shape)
    power = (1 + momenta / (4 * mass)) ** -2.0
    axes = tuple(range(2, 2 + len(shape)))
    points, many = nodes.points(), len(nodes.position)
    stiffness = np.asarray(jax.vmap(theory.stiffness)(points), float)
    quadratic = np.asarray(jax.vmap(theory.quadratic)(points), float) / stiffness
    s = np.arange(1, _KNOTS + 1) / _KNOTS
    # ν/a: of the whole mass term a cautious guess, less what the target brings
    whole = mass + s[:, None] ** 2 * (quadratic - mass) * (1 + 0.5 * (1 - s[:, None] ** 2))
    nu = whole - s[:, None] ** 2 * quadratic  # (knots, E)
    nu[-1] = 0.0

    def walked(key: jax.Array, phi: Array, nu: Array, log_step: Array) -> tuple[Array, ...]:
        t = jnp.repeat(jnp.asarray(s, phi.dtype), many)
        at = jax.tree.map(lambda x: jnp.tile(x, _KNOTS), points)
        a = jnp.tile(jnp.asarray(stiffness, phi.dtype), _KNOTS)

        def energy(group: Array, x: Array) -> Array:
            point = jax.tree.map(lambda value: value[group], at)
            free = (1 - t[group] ** 2) * a[group] * bond_energy(x)
            target = t[group] ** 2 * path.target(x, point)
            return target + free + a[group] * nu[group] * jnp.sum(x**2)

        wide = a.reshape(-1, *(1,) * len(shape))
        root = 1 / jnp.sqrt(2 * wide * (jnp.asarray(momenta, phi.dtype)[None] + mass))
        phi, log_step, _ = walk(energy, key, phi, root, log_step, _EACH)
        modes = jax.vmap(jax.vmap(hartley))(phi)
        long = jnp.mean(jnp.sum(modes**2 * jnp.asarray(power, phi.dtype)[None, None], axes), 1)
        sites = phi[0, 0].size
        return phi, log_step, long, jnp.mean(jnp.sum(phi, axes) ** 2, 1) / sites

    step = compiled(walked)
    start_key, key = jax.random.split(key)
    noise = jax.random.normal(start_key, (_KNOTS * many, _CHAINS, *shape), jnp.float32)
    a = jnp.tile(jnp.asarray(stiffness, jnp.float32), _KNOTS).reshape(-1, 1, *(1,) * len(shape))
    root = 1 / jnp.sqrt(2 * a * (jnp.asarray(momenta, jnp.float32)[None, None] + mass))
    phi = jax.vmap(jax.vmap(hartley))(noise * root)
    log_step, ends, kept = jnp.full(_KNOTS * many, np.log(0.2), jnp.float32), [], []
    for block in range(_BLOCKS):
        ask()
        now = jnp.asarray(nu.reshape(-1), jnp.float32)
        phi, log_step, long, chi = step(jax.random.fold_in(key, block), phi, now, log_step)
        long, chi = (np.asarray(x, float).reshape(_KNOTS, many) for x in (long, chi))
        ends.append((long[-1], chi[-1]))
        goal, at_end = np.mean(ends[len(ends) // 3 :], axis=0)
        late = max(block - _BLOCKS // 3, 0)
        gain = _GAIN / (1 + 0.15 * late)
        moved = np.clip(np.log(long[:-1] / goal), -_LARGEST, _LARGEST)
        nu[:-1] += gain * moved / (3 * np.maximum(stiffness * at_end, 1.0))
        if block >= _BLOCKS // 2:
            kept.append(nu.copy())
    nu = np.mean(kept, axis=0)
    masses = [_mass(momenta, power, a * g) for a, g in zip(stiffness, goal, strict=True)]
    return _fitted(params, nodes, s, nu, np.array(masses)), float(at_end.max())


def _mass(momenta: np.ndarray, power: np.ndarray, goal: float) -> float:
    """m² of the free field whose long waves have the power `goal`."""

    def excess(log_mass: float) -> float:
        return float(np.sum(power / (2 * (momenta + np.exp(log_mass)))) - goal)

    return float(np.exp(root_scalar(excess, bracket=(np.log(1e-6), np.log(1e3))).root))


def _fitted(
    params: Params,
    nodes: Nodes,
    s: Float[np.ndarray, " knots"],
    nu: Float[np.ndarray, "knots E"],
    masses: Float[np.ndarray, " E"],
) -> Params:
    """The polynomials through what was found."""
    ranges = nodes.couplings.ranges
    of = jax.vmap(lambda point: chebyshev.of_couplings(point, ranges, jnp.float32))
    terms = np.asarray(of(nodes.points()), float)  # (E, terms)
    base = np.linalg.lstsq(terms, np.log(masses), rcond=None)[0]
    free = (1 - s**2)[:, None] * np.exp(terms @ base)
    powers = np.arange(params.path.shape[0])
    bends = (s**2 * (1 - s))[:-1, None] * s[:-1, None] ** powers
    table = np.einsum("sj,ep->sejp", bends, terms).reshape(-1, bends.shape[1] * terms.shape[1])
    # three terms, as the knots tell no more
    used = (np.arange(table.shape[1]) // terms.shape[1]) < 3
    found = np.zeros(table.shape[1])
    found[used] = np.linalg.lstsq(table[:, used], (nu - free)[:-1].reshape(-1), rcond=None)[0]
    return params._replace(
        base=jnp.asarray(base, jnp.float32),
        path=jnp.asarray(found.reshape(params.path.shape), jnp.float32),
    )
