"""Whether a file's bytes are the ones that were written.

The last line of a file says what all bytes before it must hash to:

    lattice-flows sha256 <64 hexadecimal digits>

HDF5 says in its first bytes where a file ends and takes no notice of what follows, so that every
netCDF program reads a sealed file; zip archives (checkpoints) are sealed the same way. The seal is
looked at before the HDF5 library is, which a damaged file can bring down. A program that writes the
file again, or adds to it, leaves no seal: a file without one is not protected, but what stands in
the place of a seal must be one.

A JSON record has the digest of all its other keys under `lf_digest`, a line of a JSON log its
CRC-32 under `crc32`.
"""

import hashlib
import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SEAL = re.compile(rb"lattice-flows sha256 ([0-9a-f]{64})\n")
_LENGTH = len("lattice-flows sha256 ") + 64 + 1
_PIECE = 1 << 22
DIGEST, CRC = "lf_digest", "crc32"
_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", (b"PK\x03\x04", b"PK\x05\x06")
# Offset of the end-of-file address by the superblock's version (HDF5 File Format Specification
# 3.0, section II.A).
_END_ADDRESS = {0: 40, 1: 44, 2: 28, 3: 28}


class Damaged(ValueError):
    """Not the bytes that were written."""


def seal(path: str | os.PathLike) -> None:
    """Add the line that the file's bytes are checked against. Raises OSError."""
    line = f"lattice-flows sha256 {_digest(path, os.path.getsize(path))}\n"
    with open(path, "ab") as file:
        file.write(line.encode())


def is_sealed(path: str | os.PathLike) -> bool:
    """True: sealed, and the bytes are those that were written. False: there is no seal.

    Raises Damaged where they are others, ValueError where the file does not end as it should,
    OSError where it can't be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(64)
        file.seek(max(0, size - _LENGTH))
        tail = file.read()
    found = _SEAL.fullmatch(tail)
    if found and _digest(path, size - _LENGTH) != found[1].decode():
        raise Damaged("its digest differs")
    if not found and not _ends(head, tail, size):
        raise ValueError("it is truncated, or its end damaged")
    return found is not None


def _digest(path: str | os.PathLike, size: int) -> str:
    """SHA-256 of the first `size` bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while size > 0 and (piece := file.read(min(size, _PIECE))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()


def _ends(head: bytes, tail: bytes, size: int) -> bool:
    """Whether an unsealed file ends where its format says; True for formats not known here."""
    if head.startswith(_ZIP[0]):  # the record at the end of an archive without a comment
        return tail[-22:].startswith(_ZIP[1])
    offset = _END_ADDRESS.get(head[8]) if head.startswith(_HDF5) and len(head) == 64 else None
    return offset is None or size <= int.from_bytes(head[offset : offset + 8], "little")


def digest_of(record: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON record, its digest left out; the order of the keys does not matter."""
    rest = {key: value for key, value in record.items() if key != DIGEST}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed_json(record: Mapping[str, Any]) -> str:
    """The record with its digest, as JSON text."""
    whole = json.loads(json.dumps(record, allow_nan=False))  # as it will be read
    return json.dumps({**whole, DIGEST: digest_of(whole)}, indent=2) + "\n"


def read_json(path: str | os.PathLike) -> tuple[dict[str, Any], bool]:
    """A JSON record without its digest, and whether it had one.

    Raises Damaged where it is no JSON object or not as it was written, and OSError.
    """
    try:
        record = json.loads(Path(path).read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is no JSON ({error})") from error
    if not isinstance(record, dict):
        raise Damaged("it is no JSON object")
    if DIGEST not in record:
        return record, False
    if record.pop(DIGEST) != digest_of(record):
        raise Damaged("its digest differs")
    return record, True


def sealed_line(record: Mapping[str, Any]) -> str:
    """A record as one line of a JSON log, with its checksum."""
    text = json.dumps(dict(record), allow_nan=False)
    return json.dumps({**record, CRC: f"{zlib.crc32(text.encode()):08x}"}, allow_nan=False) + "\n"


def read_lines(lines: list[str]) -> tuple[list[dict[str, Any]], int]:
    """The sound records of a JSON log, without their checksums, and how many are damaged.

    A log that has checksums has one in every line.
    """
    found: list[dict[str, Any] | None] = []
    checked: list[bool] = []
    for line in lines:
        try:
            record = json.loads(line)
            crc = record.pop(CRC, None)
            checked.append(crc is not None)
            sound = crc in (None, f"{zlib.crc32(json.dumps(record).encode()):08x}")
        except (ValueError, AttributeError, TypeError, RecursionError):
            checked.append(False)
            sound = False
        found.append(record if sound else None)
    all_checked = any(checked)
    kept = [r for r, c in zip(found, checked, strict=True) if r is not None and c >= all_checked]
    return kept, len(found) - len(kept)
