"""One process at a time in a run directory.

The lock is `flock` on the file `lock`: it goes with the process, however that ends. Some parallel
file systems have no flock (ENOSYS, ENOLCK, EOPNOTSUPP). There a file `lock.owner`, which only one
process can make (O_EXCL), says who works in the directory: host, process, its start, scheduler job.
One that a dead process left behind is taken over where that is certain:

- it was on this host, and no such process runs there any more;
- it was of this scheduler job before the scheduler started that again.

Anything else is refused, with the file to remove.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lattice_flows.io.integrity import Damaged, read_json, sealed_json
from lattice_flows.io.provenance import job
from theories.errors import LatticeFlowsError

LOCK, OWNER = "lock", "lock.owner"
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold a directory against other processes.

    Raises LatticeFlowsError where another one holds it, OSError where it can't be written.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(
            (directory / LOCK).open("a+", encoding="utf-8", errors="replace")
        )
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise LatticeFlowsError(
                f"{directory} is in use by another process (pid {owner}): wait for it, or stop it"
            ) from None
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            stack.enter_context(_owned(directory))
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield  # the lock goes with the file handle, and so with a killed process


@contextlib.contextmanager
def _owned(directory: Path) -> Iterator[None]:
    """Hold a directory by a file that only one process can make."""
    path, me = directory / OWNER, _me()
    for _ in range(2):  # the second time after a dead owner is out of the way
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            break
        _take_over(path, me)
    else:
        raise LatticeFlowsError(f"{directory} is in use by another process: wait for it")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(sealed_json(me))
    try:
        yield
    finally:
        if _read(path) == me:
            path.unlink(missing_ok=True)


def _take_over(path: Path, me: dict[str, Any]) -> None:
    """Remove the file of a dead owner; raise LatticeFlowsError for any other."""
    owner = _read(path)
    if not _dead(owner, me):
        who = f"pid {owner.get('pid', 'unknown')} on {owner.get('host', 'an unknown host')}"
        of = f", job {owner['job']['id']}" if owner.get("job") else ""
        raise LatticeFlowsError(
            f"{path.parent} is in use by another process ({who}{of}): wait for it, or stop it; "
            f"if it is gone, remove {path}"
        )
    # renamed first: of two processes that find the same dead owner, one moves its file, and the
    # other must not remove what the first has put in its place
    moved = path.with_name(f".{OWNER}.{secrets.token_hex(6)}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, moved)
        if _read(moved) != owner:
            with contextlib.suppress(OSError):
                os.link(moved, path)
        moved.unlink()


def _dead(owner: dict[str, Any], me: dict[str, Any]) -> bool:
    """Whether the owner certainly works no more."""
    if not owner:
        return False
    then, now = owner.get("job"), me["job"]
    if then and now and then["id"] == now["id"] and then["restarts"] < now["restarts"]:
        return True
    if (owner["host"], owner["boot"]) != (me["host"], me["boot"]):
        return False
    return _started(owner["pid"]) != owner["started"]


def _me() -> dict[str, Any]:
    pid = os.getpid()
    boot = None  # process numbers begin anew with it; and names of machines are not unique
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {
        "host": socket.gethostname(),
        "boot": boot,
        "pid": pid,
        "started": _started(pid),
        "job": job(),
    }


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's clock ticks; None if there is none such."""
    try:
        # the fields follow the name, which stands in brackets and may hold anything (proc(5))
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)  # no /proc here
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "unknown"


def _read(path: Path) -> dict[str, Any]:
    """What a lock file says; nothing for one that is damaged or not written to its end."""
    try:
        owner, sealed = read_json(path)
    except (OSError, Damaged):
        return {}
    return owner if sealed else {}
