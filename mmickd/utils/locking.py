"""One process makes a thing, the others wait for it: locks that die with their process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout
from mmengine.logging import print_log

REMIND_SECONDS = 60.0
MISSES = 3
"""Tries in which the lock file was missing, until it is believed that none can be made."""


@contextmanager
def locked(path: Path, waits_for: str | None = None) -> Iterator[bool]:
    """Hold a lock, or nothing where the place cannot be locked.

    The kernel keeps the lock, so that it ends with the process, however that ends. Only processes
    of machines that share the file system's locks see each other's.

    Args:
        path: the lock file; made with its folder where it is missing.
        waits_for: what is locked, for the log; None does not wait for others.

    Yields:
        False if another holds it, and it is not waited for.
    """
    try:
        lock = _acquire(path, 0) if waits_for is None else _wait(path, waits_for)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        if lock is not None:
            lock.release()


def _wait(path: Path, what: str) -> FileLock | None:
    misses, waited = 0, False
    while True:
        try:
            return _acquire(path, REMIND_SECONDS if waited else 0)
        except Timeout:
            if not path.exists():
                # Removed in this moment; or it cannot be made, which filelock takes
                # for a lock that is held.
                misses += 1
                if misses == MISSES:
                    return None
                continue
        waited = True
        print_log(
            f"Waiting for {what}: another process holds the lock {path}. It is freed as soon as "
            "that process is done, or dies.",
            logger="current",
        )


def _acquire(path: Path, timeout: float) -> FileLock | None:
    """The held lock; None where the place cannot be locked.

    Raises:
        Timeout: if another holds it.
    """
    lock = FileLock(path, poll_interval=0.2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout)
    except Timeout:
        if not isinstance(lock, SoftFileLock):
            raise
    except (OSError, NotImplementedError) as error:
        print_log(f"{path} cannot be locked ({error}), going on", logger="current", level=10)
        return None
    if not isinstance(lock, SoftFileLock):
        return lock
    # filelock's way where the kernel has no locks: a file that a killed run would leave for ever.
    lock.release()
    return None
