"""File locks, which end with their process: one process writes a file, and the others wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout
from mmengine.logging import print_log

REMIND_SECONDS = 60.0
MISSES = 3
"""Number of failed attempts without a lock file after which the folder counts as without locks."""


@contextmanager
def locked(path: Path, waits_for: str | None = None) -> Iterator[bool]:
    """Hold a file lock in the block; without a lock if the file system has no locks.

    The kernel holds the lock, so that it ends with the process, even after a kill. On other
    machines the lock has an effect only if the file system shares locks.

    Args:
        path: The lock file; file and folder are created if missing.
        waits_for: Description of the locked object, for the log; None: do not wait.

    Yields:
        False if another process holds the lock and ``waits_for`` is None, else True.
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
    misses, has_waited = 0, False
    while True:
        try:
            return _acquire(path, REMIND_SECONDS if has_waited else 0)
        except Timeout:
            if not path.exists():
                # The file was removed at this moment, or cannot be created: filelock reports this
                # like a lock of another process.
                misses += 1
                if misses == MISSES:
                    return None
                continue
        has_waited = True
        print_log(
            f"Waiting for {what}: another process holds the lock {path}. The lock is released "
            "when that process finishes or dies.",
            logger="current",
        )


def _acquire(path: Path, timeout: float) -> FileLock | None:
    """Acquire and return the lock; None if the file system has no locks.

    Raises:
        Timeout: If another process holds the lock.
    """
    lock = FileLock(path, poll_interval=0.2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout)
    except Timeout:
        if not isinstance(lock, SoftFileLock):
            raise
    except (OSError, NotImplementedError) as error:
        print_log(f"{path} cannot be locked ({error})", logger="current", level=10)
        return None
    if not isinstance(lock, SoftFileLock):
        return lock
    # filelock falls back to a plain file, which a killed run would leave behind.
    lock.release()
    return None
