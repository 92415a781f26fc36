"""Cache of finished banks: a folder for each fingerprint, with a limit of the total size.

An unfinished bank is never used. A bank that does not match is left unchanged, and the reason is
logged. The cache removes no bank that is in use, and no file that this package did not write.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.options import DEFAULT_LIMIT
from mmickd.diagnostics.finding import Finding
from mmickd.storage.bank_files import FORMAT_VERSION, fingerprint_of, read_bank, write_bank
from mmickd.storage.entry import Entry, describe_read_error, entry_of, lock_of
from mmickd.storage.files import MANIFEST, cache_folder, is_leftover, read_manifest
from mmickd.storage.image_names import add_names, read_names
from mmickd.utils.errors import ICKDError
from mmickd.utils.locking import locked
from mmickd.utils.text import shorten

FINGERPRINT = re.compile(r"[0-9a-f]{24}")
GIB = 2**30


class BankCache:
    """Cache of finished banks in a folder.

    Args:
        root: Folder of the cache; it is created when the first bank is locked or written.
        limit: Maximum size of all banks in GiB, enforced by :meth:`try_save`; None: no limit.
        description: Information for people, which is written into each manifest.
        names: Function that returns the names of the images of all rows.

    Example:
        >>> import tempfile, torch
        >>> from mmickd.structures import Samples
        >>> labels, ids = torch.tensor([0, 1]), torch.tensor([5, 6])
        >>> bank = MemoryBank(Samples(torch.eye(2), torch.eye(2), labels, ids), num_classes=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = BankCache(folder)
        ...     _ = cache.save(bank, {"level": "image"})
        ...     len(cache.load({"level": "image"})[0]), cache.load({"level": "pixel"})[0]
        (2, None)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        limit: float | None = DEFAULT_LIMIT,
        description: dict[str, str] | None = None,
        names: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.root = cache_folder(root)
        self.limit = limit
        self.description = description or {}
        self.names = names

    def folder(self, cache_key: dict[str, Any]) -> Path:
        """Return the folder of the bank with a cache key."""
        return self.root / fingerprint_of(cache_key)

    def lock(self, cache_key: dict[str, Any]) -> AbstractContextManager[bool]:
        """Hold the lock of a bank, so that no other run reads, builds or removes the bank.

        If the folder cannot be locked, the run continues without a lock.
        """
        folder = self.folder(cache_key)
        return locked(lock_of(folder), f"the {cache_key.get('level', 'memory')} bank {folder}")

    def load(
        self, cache_key: dict[str, Any], width: int | None = None
    ) -> tuple[MemoryBank | None, str]:
        """Return the bank with a cache key, and a line for the log.

        Args:
            cache_key: Settings and digests that the bank depends on, by name.
            width: Expected width of the features; None: any.

        Returns:
            The bank, or None if there is no valid bank; and its folder, or the reason.
        """
        folder = self.folder(cache_key)
        try:
            if not folder.is_dir():
                return None, self._nearest(cache_key)
            bank = read_bank(folder, cache_key, width)
        except Exception as error:  # any error that changed files cause
            return None, f"the bank in {folder} {describe_read_error(error)}"
        with suppress(OSError):
            os.utime(folder / MANIFEST)  # eviction removes the least recently used bank
        return bank, f"memory bank from {folder}"

    def save(self, bank: MemoryBank, cache_key: dict[str, Any]) -> Path:
        """Write a bank.

        Raises:
            OSError: If the folder cannot be written.
        """
        folder = self.folder(cache_key)
        write_bank(folder, bank, cache_key, self.description, self.names())
        return folder

    def complete(self, cache_key: dict[str, Any]) -> None:
        """Write the image names of a cached bank if they are missing or invalid.

        Raises:
            OSError: If there is no such bank, or the folder cannot be written.
        """
        folder = self.folder(cache_key)
        with self.lock(cache_key):
            try:
                read_names(folder)
            except ICKDError:
                add_names(folder, self.names())

    def try_save(self, bank: MemoryBank, cache_key: dict[str, Any]) -> Finding | None:
        """Write a bank and make room for it; return a finding if it cannot be written."""
        try:
            folder = self.save(bank, cache_key)
        except OSError as error:
            return Finding(
                "bank_not_cached",
                "warning",
                f"the memory bank cannot be cached in {self.root} ({error}): the next run will "
                "build it again. Set bank.cache_dir to a folder that can be written, or to None.",
            )
        print_log(f"Memory bank cached in {folder}", logger="current")
        self._make_room(folder)
        return None

    def entries(self) -> list[Entry]:
        """Return the entries of the cache, least recently used first; other folders are ignored."""
        entries = []
        with suppress(OSError):
            for path in self.root.iterdir():
                entry = entry_of(path) if FINGERPRINT.fullmatch(path.name) else None
                if entry is not None:
                    entries.append(entry)
        return sorted(entries, key=lambda entry: (entry.used, entry.folder))

    def prune(
        self,
        is_chosen: Callable[[Entry], bool] = lambda entry: False,
        limit: float | None = None,
        keep: Path | None = None,
        dry_run: bool = False,
    ) -> list[tuple[Entry, bool]]:
        """Remove the chosen banks, then the least recently used ones above a limit.

        Args:
            is_chosen: Condition of banks to remove in any case.
            limit: Size in GiB that the remaining banks may have; None: no limit.
            keep: Folder that is never removed.
            dry_run: True removes nothing.

        Returns:
            Each bank to remove, and True if it was removed (a bank in use stays).
        """
        entries = self.entries()
        total = sum(entry.nbytes for entry in entries)
        removed = []
        chosen = [entry for entry in entries if is_chosen(entry)]
        for entry in [*chosen, *(entry for entry in entries if entry not in chosen)]:
            is_above = limit is not None and total > limit * GIB
            if entry.folder != keep and (entry in chosen or is_above):
                is_gone = dry_run or entry.remove()
                removed.append((entry, is_gone))
                total -= entry.nbytes if is_gone else 0
        return removed

    def _make_room(self, keep: Path) -> None:
        """Remove unfinished banks of killed runs, and least recently used banks above the limit."""

        def is_unfinished(entry: Entry) -> bool:
            return MANIFEST not in entry.names and is_leftover(entry.used)

        for entry, is_gone in self.prune(is_unfinished, self.limit, keep):
            reason = "its writer did not finish"
            if self.limit and not is_unfinished(entry):
                reason = f"the cache was above bank.cache_limit={self.limit:g} GiB"
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
            if is_gone:
                print_log(
                    f"Removed the memory bank {entry.folder} ({entry.nbytes / 2**20:.1f} MiB, last "
                    f"used {used}): {reason}",
                    logger="current",
                )
        for lock in self.root.glob("*.lock"):
            is_orphan = FINGERPRINT.fullmatch(lock.stem) and not lock.with_suffix("").exists()
            if is_orphan and not lock.is_symlink() and is_leftover(lock.stat().st_mtime):
                with locked(lock) as is_free, suppress(OSError):
                    lock.unlink() if is_free else None
        total = sum(entry.nbytes for entry in self.entries()) / GIB
        if self.limit is not None and total > self.limit:
            print_log(
                f"The cache {self.root} holds {total:.2f} GiB, more than "
                f"bank.cache_limit={self.limit:g}: the rest is in use.",
                logger="current",
            )

    def _nearest(self, cache_key: dict[str, Any]) -> str:
        """Return why no cached bank matches, with the differences of the nearest bank."""
        nearest: tuple[int, str] | None = None
        expected = {"format": FORMAT_VERSION, **cache_key}
        for entry in sorted(self.entries(), key=lambda entry: entry.folder):
            try:
                manifest = read_manifest(entry.folder)
                stored = {"format": manifest["format"], **manifest["fields"]}
            except Exception:  # any error that changed files cause
                continue
            differing = sorted(k for k in expected | stored if expected.get(k) != stored.get(k))
            text = f"the nearest bank, {entry.folder}, has another {shorten(', '.join(differing))}"
            if nearest is None or len(differing) < nearest[0]:
                nearest = len(differing), text
        text = f"no bank of this teacher and data set in {self.root}"
        return f"{text} ({nearest[1]})" if nearest else text


@dataclass(frozen=True)
class StoredBank:
    """Location of a bank in a cache.

    Args:
        cache: Cache of the bank; the bank is missing in it if it could not be written.
        cache_key: Cache key of the bank; it is complete on rank 0 only.
        was_cached: True if the cache had the bank before this run.
    """

    cache: BankCache
    cache_key: dict[str, Any]
    was_cached: bool

    @property
    def folder(self) -> Path:
        """Folder of the bank."""
        return self.cache.folder(self.cache_key)
