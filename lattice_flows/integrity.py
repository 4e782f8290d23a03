"""Whether a file's bytes are the ones that were written.

The last line of a file says what all bytes before it must hash to:

    lattice-flows sha256 <64 hexadecimal digits>

HDF5 says in its first bytes where a file ends and takes no notice of what follows, so that every
netCDF program reads a sealed file. The seal is looked at before the HDF5 library is, which a
damaged file can bring down. A program that writes the file again, or adds to it, leaves no seal: a
file without one is not protected, but what stands in the place of a seal must be one.
"""

import hashlib
import os
import re
from pathlib import Path

from theories.errors import LatticeFlowsError

_SEAL = re.compile(rb"lattice-flows sha256 ([0-9a-f]{64})\n")
_LENGTH = len("lattice-flows sha256 ") + 64 + 1
_PIECE = 1 << 22
_HDF5 = b"\x89HDF\r\n\x1a\n"
# Offset of the end-of-file address by the superblock's version (HDF5 File Format Specification
# 3.0, section II.A).
_END_ADDRESS = {0: 40, 1: 44, 2: 28, 3: 28}


def seal(path: str | os.PathLike) -> None:
    """Add the line that the file's bytes are checked against. Raises OSError."""
    line = f"lattice-flows sha256 {_digest(path, os.path.getsize(path))}\n"
    with open(path, "ab") as file:
        file.write(line.encode())


def is_sealed(path: str | os.PathLike) -> bool:
    """True: sealed, and the bytes are those that were written. False: there is no seal.

    Raises LatticeFlowsError where they are others, OSError where they can't be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(64)
        file.seek(max(0, size - _LENGTH))
        found = _SEAL.fullmatch(file.read())
    if not found and size > _end(head, size):
        raise LatticeFlowsError(
            f"{path} is not a netCDF file, or only a part of one: its end is damaged; "
            "copy or make it again"
        )
    if found and _digest(path, size - _LENGTH) != found[1].decode():
        raise LatticeFlowsError(
            f"{path} is damaged: its bytes are not those that were written; copy or make it again"
        )
    return found is not None


def _digest(path: str | os.PathLike, size: int) -> str:
    """SHA-256 of the first `size` bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while size > 0 and (piece := file.read(min(size, _PIECE))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()


def _end(head: bytes, size: int) -> int:
    """Where an HDF5 file says that it ends; its size, if it is no HDF5 file."""
    offset = _END_ADDRESS.get(head[8]) if head.startswith(_HDF5) and len(head) == 64 else None
    return size if offset is None else int.from_bytes(head[offset : offset + 8], "little")
