"""How programs are compiled: for a short start.

On a processor LLVM's first level of optimisation takes half the time of its third, and what comes
out is as fast and computes the same (docs/running.md): the time goes into arithmetic on long
arrays, which both make vector code of, and into matrix products, which are library calls.
"""

from collections.abc import Callable
from typing import Any

import jax


def compiled(function: Callable, **options: Any) -> Any:
    """`jax.jit(function, **options)`, compiled fast on a processor."""
    own = jax.default_backend() == "cpu" and not jax.config.read("jax_disable_most_optimizations")
    fast = {"xla_backend_optimization_level": 1} if own else None
    return jax.jit(function, compiler_options=fast, **options)
