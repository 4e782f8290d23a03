"""Carrying a trained flow to other couplings, and to other lattices.

Three ways. To other couplings by transport (flows/continuation.py): the trained flow stays as it
is, and fields through coupling space are trained that go on from it. By training on: the new flow
begins with the trained parameters, which a field on a lattice can take over at any size, since its
context kernels belong to displacements and all the rest to single sites; displacements that the old
lattice did not have begin with none. Or by the couplings' derivative (objectives/trade.py).
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lattice_flows.flows.model import trained
from lattice_flows.flows.params import Params
from lattice_flows.runs.config import Config
from lattice_flows.runs.options import Options, setting
from lattice_flows.runs.rules import idle
from lattice_flows.runs.run import Run
from theories import coupling_scale
from theories.errors import LatticeFlowsError
from theories.lattice import distance_classes

_BY_SITE = ("hollow", "translation")  # fields that a lattice of another size can take over
_INPUTS = {"hollow": ("embed_1", "w", "b"), "translation": ("embed_1", "w", "b")} | {
    "mlp": ("first", "first", "first_bias")
}
"""Where fields first see the couplings: a part of the parameters, its weights and its biases. The
last rows of the weights belong to the couplings that vary."""


def taken_over(config: Config, source: Run) -> dict[str, Any]:
    """The parameters that a flow of `config` takes over from that of `source`, by their part.

    In the precision of `config`. Raises LatticeFlowsError where they do not fit.
    """
    _, params = trained(source)
    if config.continues:
        # what its training alone has a use for is left behind
        known = {"base": params._replace(path=(), constant=())}
    else:
        known = transferred(params, source.config, config)._asdict()
    dtype = np.float64 if config.x64 else np.float32
    known = {part: taken for part, taken in known.items() if taken is not None}
    return jax.tree.map(lambda x: np.asarray(x, dtype), known)


def transferred(params: Params, old: Config, new: Config) -> Params:
    """Parameters of a flow of `old`, for one of `new`; None for what is to be made anew.

    The base is fitted anew where the ranges differ. Raises LatticeFlowsError where the field, its
    width or what is learned beside it differ.
    """
    kinds = ("theory", "field", "width", "base", "interpolation", "constant", "base_curvature")
    for name in kinds:
        there, here = getattr(old, name), getattr(new, name)
        if there != here:
            settings = {f.name: getattr(new, f.name) for f in fields(Options)}
            if name in idle(Options(**(settings | {name: there}))):
                raise LatticeFlowsError(
                    f"the flow was trained with {setting(name, there)}, which "
                    f"{setting('objective', new.objective)} has no place for: "
                    f"use {setting('objective', old.objective)}"
                )
            raise LatticeFlowsError(
                f"the trained flow has {name} {there}, not {here}: leave it as it is"
            )
    same_lattice, same_ranges = old.shape == new.shape, old.ranges == new.ranges
    learned = new.interpolation == "learned" or new.constant == "network"
    fits = same_lattice if new.field == "mlp" else new.field in _BY_SITE
    if not (same_lattice and same_ranges) and (not fits or learned):
        raise LatticeFlowsError(
            'a flow with `field="mlp"` keeps its lattice, one with `field="convolutional"`, a '
            "learned path or a network for C_t its ranges, too: change the values of fixed "
            "couplings alone"
        )
    field = params.field
    if not (same_lattice and same_ranges):
        field = {name: dict(part) for name, part in field.items()}
    if not same_ranges:
        _show_ranges(field, old, new)
    if not same_lattice:
        kernels = _layer(field, "kernels")
        kernels["kernels"] = _resized(kernels["kernels"], old, new)
    return params._replace(field=field, base=params.base if same_ranges else None)


def _layer(field: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The part of a field's parameters that has `name`, or is called so."""
    return next(part for key, part in field.items() if name in part or key.endswith(name))


def _resized(kernels: jax.Array | NDArray[Any], old: Config, new: Config) -> jax.Array:
    """Context kernels of the new lattice's distance classes, 0 at displacements new to it."""
    before, after = distance_classes(old.shape), distance_classes(new.shape)
    resized = np.zeros((int(after.max()), kernels.shape[1]), kernels.dtype)
    if len(old.shape) != len(new.shape):
        raise LatticeFlowsError("a flow keeps the number of dimensions of its lattice")
    for displacement in np.ndindex(*new.shape):
        # the shorter way round each direction, which the smaller lattice must have, too
        short = [min(d, n - d) for d, n in zip(displacement, new.shape, strict=True)]
        if after[displacement] and all(s <= n // 2 for s, n in zip(short, old.shape, strict=True)):
            resized[after[displacement] - 1] = kernels[before[tuple(short)] - 1]
    return jnp.asarray(resized)


def _show_ranges(field: Mapping[str, dict[str, Any]], old: Config, new: Config) -> None:
    """Let the field see the new ranges, as the same function of what it saw before.

    It sees a coupling θ, or its logarithm (theories.coupling_scale), as (θ - middle)/half; one that
    is new to it begins without effect.
    """
    name, weights, biases = _INPUTS[new.field]
    layer = _layer(field, name)
    weight, bias = np.asarray(layer[weights]), np.array(layer[biases])
    others = len(weight) - len(old.ranges)
    rows = dict(zip(old.ranges, weight[others:], strict=True))
    seen = [rows.get(name, np.zeros_like(bias)) for name in new.ranges]
    for i, name in enumerate(new.ranges):
        if name in old.ranges:
            seen[i] = seen[i] * (_half(new, name) / _half(old, name))
    for name, row in rows.items():
        shift = _middle(new, name) - _middle(old, name)
        bias += row * shift / _half(old, name)
    shown = np.stack([*weight[:others], *seen]).astype(weight.dtype)
    layer |= {weights: jnp.asarray(shown), biases: jnp.asarray(bias.astype(weight.dtype))}


def _ends(config: Config, name: str) -> NDArray[np.float64]:
    """Low and high of a coupling, the same where it is fixed, on the scale that fields see."""
    value = config.couplings[name]
    ends = value if isinstance(value, tuple) else (value, value)
    scale = config.make_theory().from_values()
    return np.array([coupling_scale(scale, name, end) for end in ends])


def _middle(config: Config, name: str) -> float:
    return float(_ends(config, name).mean())


def _half(config: Config, name: str) -> float:
    return float(np.diff(_ends(config, name))[0] / 2)
