"""What a training learns, in one tree."""

from typing import Any, NamedTuple


class Params(NamedTuple):
    """Parameters of the base (fitted at the start, then fixed) and what is trained after that.

    field: of the velocity field. path: of the interpolation, () where it has none. constant: of
    the network for C_t, () where C_t is in closed form.
    """

    base: Any
    field: Any = ()
    path: Any = ()
    constant: Any = ()
