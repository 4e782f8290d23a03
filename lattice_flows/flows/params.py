"""What a training learns, in one tree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theories.errors import LatticeFlowsError


class Params(NamedTuple):
    """Parameters of the base (fitted at the start, then fixed) and what is trained after that.

    field: of the velocity field. path: of the interpolation, () where it has none. constant: of
    the network for C_t, () where C_t is in closed form.
    """

    base: Any
    field: Any = ()
    path: Any = ()
    constant: Any = ()


def in_precision_of(params: Any, *values: Any) -> tuple[Any, ...]:
    """`values`, trees of numbers, in the precision of the parameters of a network."""
    dtype = jax.tree.leaves(params)[0].dtype
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), values)


def refuse_not_finite(params: Params, whose: str) -> None:
    """Raise LatticeFlowsError, that `whose` parameters are not finite, where one is not."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if bad := [path for path, leaf in leaves if not np.all(np.isfinite(np.asarray(leaf)))]:
        name = jax.tree_util.keystr(bad[0]).lstrip(".")
        raise LatticeFlowsError(
            f"{whose} has parameters that are not finite ({name}): train a new run, "
            "with a smaller `learning_rate` if this one diverged"
        )
