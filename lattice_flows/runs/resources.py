"""What a request would take of the machine, estimated before any work is done.

The estimates are lower bounds from the sizes of the largest arrays: what is refused here could not
have worked.
"""

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from lattice_flows.runs.options import Options, refuse

MOST_SITES = 10**8
"""Of a lattice: its kernels and momenta are arrays of that size, and are made many times."""

_CGROUP = Path("/sys/fs/cgroup")


def refuse_sites(shape: Sequence[int]) -> None:
    """Raise LatticeFlowsError for a lattice that no array holds."""
    sites = min(math.prod(shape), 10**99)  # what a float can tell
    if sites > MOST_SITES:
        refuse(
            f"a lattice of {_count(sites)} sites is too large: one configuration would take "
            f"{_size(8 * sites)} (at most {_count(MOST_SITES)} sites)"
        )


def refuse_memory(what: str, needed: float) -> None:
    """Raise LatticeFlowsError where `needed` bytes are more than the memory that there is."""
    there = memory()
    if needed > there:
        refuse(f"{what} would take {_size(needed)} of memory, of {_size(there)}: ask for less")


def refuse_draws(n: int, sites: int, output: Path | None) -> None:
    """Raise LatticeFlowsError where n configurations do not fit on the disk of `output`.

    Beside the parts that may be there already (ensembles/blocks.py) they are there twice, joined
    and written. Where nothing is written, in memory.
    """
    needed = 8.0 * n * (sites + 1) * (1 if output is None else 2)
    what = f"{_count(n)} configurations of {_count(sites)} sites"
    if output is None:
        refuse_memory(what, needed)
        return
    there = shutil.disk_usage(Path(os.path.realpath(output)).parent).free
    if needed > there:
        refuse(f"{what} would take {_size(needed)} of disk, of {_size(there)} free: ask for less")


def refuse_training(config: Options) -> None:
    """Raise LatticeFlowsError where a step of the training does not fit in memory."""
    number, sites = 8 if config.x64 else 4, math.prod(config.shape)
    width, batch = config.width, config.batch
    # a hidden layer of every site and configuration, and its derivative
    refuse_memory(
        f"`batch={batch}` of {_count(sites)} sites with `width={width}`",
        2.0 * number * batch * sites * width,
    )
    # parameters, their gradient and Adam's two moments
    refuse_memory(f"a network of `width={width}`", 4.0 * number * (width**2 + width * sites))


def memory() -> float:
    """The bytes of memory that this process may have: the machine's, or its control group's."""
    there = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            there = min(there, float((_CGROUP / limit).read_text()))
        except (OSError, ValueError):  # none, or "max"
            continue
    return there


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} PiB"


def _count(number: int) -> str:
    return str(number) if number < 10**7 else f"{float(number):.3g}"
