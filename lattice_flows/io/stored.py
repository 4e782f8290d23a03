"""Arrays in netCDF files: written in pieces, and left there until they are sliced."""

import errno
import itertools
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from theories.errors import LatticeFlowsError

PIECE = 1 << 23
"""Bytes of a large array in memory at a time."""
_CHUNK = 1 << 20  # bytes that have a checksum together
_SMALL = 1 << 12  # an index of chunks would take more room
FLAG = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "false true"}
"""The attributes of what is true or false, in CF's words."""


@runtime_checkable
class Lazy(Protocol):
    """An array, in memory or not: a shape, a dtype, and slices of its first axis.

    One whose rows are larger than 1 MiB is asked for tuples of slices.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, index: Any, /) -> Any: ...


def open_netcdf(path: str | os.PathLike, mode: Any) -> Any:
    """A `netCDF4.Dataset`, values as they are stored; for modules that read and write files.

    HDF5's own file locks, which some network disks refuse, are left off: a file is written under a
    name of its own and renamed when it is whole.
    """
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # looked at when HDF5 is loaded
    import netCDF4

    # bytes as they are: the name of a file need not be text
    name, encoding = os.fsencode(path).decode("latin-1"), "latin-1"
    file: Any = netCDF4.Dataset(name, mode, format="NETCDF4", encoding=encoding)
    file.set_auto_maskandscale(False)
    return file


def store(
    group: Any, name: str, dimensions: tuple[str, ...], data: Lazy, attributes: Mapping[str, Any]
) -> None:
    """Write an array to an open file; one that is not small in chunks with a checksum each.

    Booleans are stored as 0 and 1.
    """
    dtype, shape = np.dtype(data.dtype), tuple(data.shape)
    kept = np.dtype(np.int8) if dtype.kind == "b" else dtype
    size = math.prod(shape) * kept.itemsize
    chunk = _chunk(shape, kept.itemsize) if size else ()
    checked: dict[str, Any] = {"fletcher32": True, "chunksizes": chunk} if size > _SMALL else {}
    stored = group.createVariable(name, str if dtype.kind == "U" else kept, dimensions, **checked)
    stored.setncatts(attributes)
    if not size:
        return
    for index in _pieces(shape, chunk):
        piece = np.asarray(data[index])
        stored[index] = piece.astype(object) if dtype.kind == "U" else piece.astype(kept)


def _chunk(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Whole rows of the last axes, as many as there is room for."""
    chunk = list(shape)
    for axis in range(len(shape)):
        room = _CHUNK // (itemsize * math.prod(chunk[axis + 1 :]))
        chunk[axis] = min(chunk[axis], max(1, room))
    return tuple(chunk)


def _pieces(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Iterator[Any]:
    """Indices of pieces of some chunks each that make up the whole array."""
    if not shape:
        yield ...
        return
    cut = next((axis for axis, size in enumerate(chunk) if size > 1), len(shape) - 1)
    steps = [PIECE // _CHUNK * size if axis == cut else size for axis, size in enumerate(chunk)]
    ranges = [
        [slice(start, min(start + step, size)) for start in range(0, size, step)]
        for size, step in zip(shape, steps, strict=True)
    ]
    for index in itertools.product(*ranges):
        yield index[0] if cut == 0 else index


class StoredArray:
    """An array in a netCDF file that is kept open: shape, dtype, and slices as numpy arrays.

    A file that is replaced meanwhile stays the one that was opened.
    """

    def __init__(self, path: Path, stored: Any):
        self.path, self._stored = path, stored
        if stored.shape and stored.chunking() != "contiguous":
            stored.set_var_chunk_cache(size=4 * _CHUNK)  # 64 MiB else; slices are read once
        flag = "flag_meanings" in stored.ncattrs() and stored.flag_meanings == "false true"
        self.shape: tuple[int, ...] = tuple(stored.shape)
        self.dtype = np.dtype(bool if flag else object if stored.dtype is str else stored.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> NDArray:
        """A part of it. Raises LatticeFlowsError where a chunk differs from its checksum."""
        try:
            return np.asarray(self._stored[index]).astype(self.dtype, copy=False)
        except (OSError, RuntimeError) as error:
            raise LatticeFlowsError(f"{self.path} can't be read: {_reason(error)}") from error

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray:
        return np.asarray(self[...], dtype=dtype)


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code is not None and code in errno.errorcode:
        return f"{os.strerror(code)}; copy it again"
    return "it is damaged; copy or make it again"
