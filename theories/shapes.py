"""How signatures tell shapes, in the words of jaxtyping; the tests check them at every call.

Within one signature an axis of the same name has the same length:

    *shape   the axes of one configuration: of a lattice, its directions
    n        configurations
    k        couplings, or directions in coupling space

jax is not loaded for this. To a static checker `Array` is that of jax, `Arrays` whatever numpy
takes for an array, and `Point` a NamedTuple; where shapes are checked the first two are any array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from jax import Array as Array
    from numpy.typing import ArrayLike as Arrays

    Point = NamedTuple
    """A point in coupling space: a theory's NamedTuple of numbers, or of scalar arrays."""
else:
    Array, Arrays, Point = Any, Any, tuple

Scalar = Float[Array, ""]
Configuration = Float[Array, "*shape"]
Configurations = Float[Array, " n *shape"]
Draws = Float[np.ndarray, " n *shape"]
"""Configurations in numpy."""
LogWeights = Float[Arrays, " n"]
"""log w of each configuration."""
