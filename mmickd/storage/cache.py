"""Cache of finished banks: a folder per fingerprint, up to a limit of their size.

An unfinished bank is never used. A bank that does not match is left as it is, and the log says why.
Nothing is removed that is in use, or that this package did not write.
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
    """Finished banks in a folder.

    Args:
        root: Folder of the cache; made when the first bank is locked or written.
        limit: Limit of the size of all banks in GiB, kept by :meth:`try_save`; None: no limit.
        about: Descriptions for people, which are written into each manifest.
        names: Function that returns the names of all images that rows come from.

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
        about: dict[str, str] | None = None,
        names: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.root = cache_folder(root)
        self.limit = limit
        self.about = about or {}
        self.names = names

    def folder(self, fields: dict[str, Any]) -> Path:
        """Return the folder of the bank that ``fields`` describe."""
        return self.root / fingerprint_of(fields)

    def lock(self, fields: dict[str, Any]) -> AbstractContextManager[bool]:
        """Wait until no other run reads, builds or removes this bank, and make others wait.

        If the folder cannot be locked, the run continues without a lock.
        """
        folder = self.folder(fields)
        return locked(lock_of(folder), f"the {fields.get('level', 'memory')} bank {folder}")

    def load(
        self, fields: dict[str, Any], width: int | None = None
    ) -> tuple[MemoryBank | None, str]:
        """Return the bank that ``fields`` describe, and a line for the log.

        Args:
            fields: All that the bank depends on.
            width: Width of its features; None: any.

        Returns:
            The bank, or None if there is no valid one; where it is, or why it cannot be used.
        """
        folder = self.folder(fields)
        try:
            if not folder.is_dir():
                return None, self._nearest(fields)
            bank = read_bank(folder, fields, width)
        except Exception as error:  # any error that changed files cause
            return None, f"the bank in {folder} {describe_read_error(error)}"
        with suppress(OSError):
            os.utime(folder / MANIFEST)  # eviction removes the least recently used bank
        return bank, f"memory bank from {folder}"

    def save(self, bank: MemoryBank, fields: dict[str, Any]) -> Path:
        """Write a bank.

        Raises:
            OSError: if the folder cannot be written.
        """
        folder = self.folder(fields)
        write_bank(folder, bank, fields, self.about, self.names())
        return folder

    def complete(self, fields: dict[str, Any]) -> None:
        """Write the image names of a cached bank if they are missing or invalid.

        Raises:
            OSError: if there is no such bank, or the folder cannot be written.
        """
        folder = self.folder(fields)
        with self.lock(fields):
            try:
                read_names(folder)
            except ICKDError:
                add_names(folder, self.names())

    def try_save(self, bank: MemoryBank, fields: dict[str, Any]) -> Finding | None:
        """Write a bank and make room for it; return a finding if it cannot be written."""
        try:
            folder = self.save(bank, fields)
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
        """Return the banks, least recently used first; other folders are ignored."""
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
            keep: Folder that stays in any case.
            dry_run: True removes nothing.

        Returns:
            Each bank to remove, and True if it is gone (a bank in use stays).
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
        """Remove unfinished banks of killed runs, then the least recently used above the limit."""

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

    def _nearest(self, fields: dict[str, Any]) -> str:
        """Return why no cached bank matches, with the fields in which the nearest one differs."""
        nearest: tuple[int, str] | None = None
        expected = {"format": FORMAT_VERSION, **fields}
        for entry in sorted(self.entries(), key=lambda entry: entry.folder):
            try:
                manifest = read_manifest(entry.folder)
                stored = {"format": manifest["format"], **manifest["fields"]}
            except Exception:  # any error that changed files cause
                continue
            differing = sorted(k for k in expected | stored if expected.get(k) != stored.get(k))
            text = f"the nearest one, {entry.folder}, has another {shorten(', '.join(differing))}"
            if nearest is None or len(differing) < nearest[0]:
                nearest = len(differing), text
        text = f"no bank of this teacher and data set in {self.root}"
        return f"{text} ({nearest[1]})" if nearest else text


@dataclass(frozen=True)
class StoredBank:
    """Place of a bank in a cache.

    Args:
        cache: Cache of the bank; the bank is missing there if it could not be written.
        fields: All that the bank depends on, on rank 0.
        was_cached: True if the cache had the bank before this run.
    """

    cache: BankCache
    fields: dict[str, Any]
    was_cached: bool

    @property
    def folder(self) -> Path:
        """Folder of the bank."""
        return self.cache.folder(self.fields)
