"""Arrays that stay on disk: rows are read as they are asked for, a few at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SLICE = 1 << 16  # rows looked at together


class Rows(ABC):
    """An array (n, …) of float64 of which slices of the first axis are read when asked for.

    `np.asarray` reads all of it, and so does any other index.
    """

    shape: tuple[int, ...]
    dtype = np.dtype(np.float64)

    @abstractmethod
    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """The rows from `start` to before `stop`."""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[np.float64]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self.read(start, max(start, stop))
        if isinstance(index, tuple) and index and isinstance(index[0], slice):
            return self[index[0]][(slice(None), *index[1:])]
        return np.asarray(self)[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return self.read(0, len(self)).astype(dtype or self.dtype, copy=False)


class RawRows(Rows):
    """Rows in a file of nothing but their bytes, from row number `first` on."""

    def __init__(self, path: Path, shape: tuple[int, ...], first: int = 0):
        self.path, self.shape, self.first = path, shape, first

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        size = int(np.prod(self.shape[1:], dtype=int))
        at = (self.first + start) * size * self.dtype.itemsize
        found = np.fromfile(self.path, self.dtype, (stop - start) * size, offset=at)
        return found.reshape(stop - start, *self.shape[1:])

    def part(self, start: int, length: int) -> "RawRows":
        """`length` rows from number `start` on, on disk as well."""
        return RawRows(self.path, (length, *self.shape[1:]), self.first + start)


class FileRows(Rows):
    """Rows of a variable in a file, (n, …)."""

    def __init__(self, stored: Any):
        self.stored, self.shape = stored, tuple(stored.shape)

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.asarray(self.stored[start:stop], dtype=self.dtype)


class ChainRows(Rows):
    """Rows of a variable in a file, (chains, draws, …), chain by chain."""

    def __init__(self, stored: Any):
        self.stored = stored
        self.shape = (stored.shape[0] * stored.shape[1], *stored.shape[2:])

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        draws = self.stored.shape[1]
        pieces = [np.empty((0, *self.shape[1:]))]
        while start < stop:
            chain, at = divmod(start, draws)
            end = min(draws, at + stop - start)
            if at == 0 and stop - start >= draws:  # whole chains at once
                chains = (stop - start) // draws
                piece = np.asarray(self.stored[chain : chain + chains], self.dtype)
                piece = piece.reshape(-1, *self.shape[1:])
            else:
                piece = np.asarray(self.stored[chain : chain + 1, at:end], self.dtype)[0]
            pieces.append(piece)
            start += len(piece)
        return np.concatenate(pieces)


class Chained:
    """Rows, chain by chain, as an array (chains, draws, …); for writers, which ask for slices."""

    dtype = Rows.dtype

    def __init__(self, rows: Any, chains: int):
        self.rows = rows
        self.shape = (chains, len(rows) // chains, *rows.shape[1:])

    def __getitem__(self, index: Any) -> NDArray[np.float64]:
        index = index if isinstance(index, tuple) else (index,)
        chains, draws = (
            range(*(index[axis] if axis < len(index) else slice(None)).indices(self.shape[axis]))
            for axis in (0, 1)
        )
        length = self.shape[1]
        found = [
            np.asarray(self.rows[c * length + draws.start : c * length + draws.stop])
            for c in chains
        ]
        return np.stack(found)[(slice(None), slice(None), *index[2:])]


def part(rows: Any, start: int, length: int) -> Any:
    """`length` rows of an array from number `start` on; of one on disk they stay there."""
    if isinstance(rows, RawRows):
        return rows.part(start, length)
    return rows[start : start + length]


def slices(rows: ArrayLike | Rows, size: int = SLICE) -> Iterator[NDArray]:
    """The rows of an array, up to `size` of them at a time."""
    array: Any = rows if isinstance(rows, Rows) else np.asarray(rows)
    for start in range(0, len(array), size):
        yield np.asarray(array[start : start + size])
