"""Keeping the cache below a size: the least recently used banks go."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mmengine.logging import print_log

from mmickd.banks.inventory import Entry, entries, orphaned_locks, remove
from mmickd.banks.locking import if_free
from mmickd.banks.stored import MANIFEST

LEFTOVER_SECONDS = 24 * 3600.0
"""Age at which half a bank is believed to have no writer any more."""
GIB = 2**30


def evict(root: Path, limit: float | None, keep: Path) -> None:
    """Remove what killed writers left, then the least recently used banks above the limit.

    Args:
        root: the cache folder.
        limit: GiB that the banks may have together; None: no limit.
        keep: the folder that was just written, which stays in any case.
    """
    _remove_leftovers(root, keep)
    if limit is None:
        return
    found = entries(root)
    total = sum(entry.nbytes for entry in found)
    for entry in found:
        if total <= limit * GIB:
            return
        if entry.folder != keep and remove(entry):
            total -= entry.nbytes
            _log(entry, f"the cache was above bank.cache_limit={limit:g} GiB")
    if total > limit * GIB:
        print_log(
            f"The cache {root} holds {total / GIB:.2f} GiB, more than bank.cache_limit={limit:g}: "
            "the rest is in use.",
            logger="current",
        )


def _remove_leftovers(root: Path, keep: Path) -> None:
    old = time.time() - LEFTOVER_SECONDS
    for entry in entries(root):
        if MANIFEST not in entry.files and entry.used < old and entry.folder != keep:
            if remove(entry):
                _log(entry, "its writer did not finish")
            continue
        for path in entry.temporaries:
            if entry.files[path.name][1] < old:
                with suppress(OSError):
                    path.unlink()
                    print_log(f"Removed {path}: its writer did not finish", logger="current")
    for lock in orphaned_locks(root):
        with if_free(lock) as free, suppress(OSError):
            if free and lock.stat().st_mtime < old:
                lock.unlink()


def prune(
    root: Path,
    wanted: Callable[[Entry], bool],
    limit: float | None = None,
    dry_run: bool = False,
) -> list[tuple[Entry, bool]]:
    """Remove banks by hand.

    Args:
        root: the cache folder.
        wanted: which of them to remove in any case.
        limit: GiB that may stay; the least recently used go first. None: no limit.
        dry_run: remove nothing.

    Returns:
        What was chosen, and whether it is gone (what is in use stays).
    """
    found = entries(root)
    total = sum(entry.nbytes for entry in found)
    chosen = []
    for entry in found:
        if wanted(entry):
            gone = dry_run or remove(entry)
            chosen.append((entry, gone))
            total -= entry.nbytes if gone else 0
    taken = {entry.folder for entry, _ in chosen}
    for entry in found:
        if limit is not None and total > limit * GIB and entry.folder not in taken:
            gone = dry_run or remove(entry)
            chosen.append((entry, gone))
            total -= entry.nbytes if gone else 0
    return chosen


def _log(entry: Entry, why: str) -> None:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    print_log(
        f"Removed the memory bank {entry.folder} ({entry.nbytes / 2**20:.1f} MiB, last used "
        f"{used}): {why}",
        logger="current",
    )
