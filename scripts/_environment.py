"""What a process inherits and must not be led astray by: variables of jax, numpy and matplotlib.

A notebook tells its children to draw in the notebook; a job script chooses devices that the machine
may not have.
"""

import logging
import os
import warnings

_SWITCHES = (
    "JAX_CHECK_TRACER_LEAKS",
    "JAX_DEBUG_INFS",
    "JAX_DEBUG_NANS",
    "JAX_DISABLE_JIT",
    "JAX_NUMPY_DTYPE_PROMOTION",
    "JAX_NUMPY_RANK_PROMOTION",
    "JAX_TRANSFER_GUARD",
)
"""For those who look for defects: jax then refuses what is right otherwise."""


def settle() -> None:
    """Figures go to files: no window, no notebook, no remarks on matplotlib's own settings.

    To be called before matplotlib is imported, which reads the variable then.
    """
    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def explain(error: Exception) -> str | None:
    """In one line, what variable jax or numpy could not start with, where `error` is of that.

    (XLA itself leaves with one line where XLA_FLAGS has a flag that it does not know.)
    """
    said = str(error)
    date = os.environ.get("SOURCE_DATE_EPOCH")  # numpy reads it as it is loaded
    if date is not None and said == f"invalid literal for int() with base 10: {date!r}":
        return "SOURCE_DATE_EPOCH is not a date: unset it, or give seconds"
    for name in os.environ:
        if (
            isinstance(error, ValueError)
            and name.startswith("JAX_")
            and name.lower() in said.lower()
        ):
            return f"jax cannot start with {name}={os.environ[name]}: unset it"
    platforms = os.environ.get("JAX_PLATFORMS")
    if not platforms or not isinstance(error, RuntimeError | AssertionError):
        return None
    import jax

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            jax.devices()
    except (RuntimeError, AssertionError) as trouble:
        why = str(trouble).split(" (set ")[0] or "there is no such device here"
        return (
            f"jax cannot start with JAX_PLATFORMS={platforms}: {why}: "
            "unset it, or set JAX_PLATFORMS=cpu"
        )
    return None


def switches() -> str:
    """Those of jax's switches for debugging that are set, as NAME=VALUE; "" for none."""
    return ", ".join(f"{name}={os.environ[name]}" for name in _SWITCHES if name in os.environ)
