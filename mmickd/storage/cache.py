"""The folder of finished banks: one folder per fingerprint, never more of them than its limit.

Nothing half written is ever taken for a bank, whatever does not match is left alone and reported in
one line, and nothing is removed that is in use or that this package did not write.
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
from mmickd.storage.bank_files import (
    FORMAT_VERSION,
    fingerprint_of,
    read_bank,
    write_bank,
)
from mmickd.storage.entry import Entry, describe_read_error, entry_of, lock_of
from mmickd.storage.files import is_old
from mmickd.storage.home import expanded
from mmickd.storage.image_names import add_names, read_names
from mmickd.storage.manifest import MANIFEST, read_manifest
from mmickd.utils.errors import ICKDError
from mmickd.utils.locking import locked
from mmickd.utils.quoting import one_line

FINGERPRINT = re.compile(r"[0-9a-f]{24}")
GIB = 2**30


class BankCache:
    """Finished banks in a folder.

    Args:
        root: the folder; made when the first bank is locked or written.
        limit: GiB that :meth:`try_save` lets the banks have together; None: no limit.
        about: names for people to read, written into each manifest beside what counts.
        names: gives the names of all images that rows come from, for who traces a row back.

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
        self.root = expanded(root)
        self.limit = limit
        self.about = about or {}
        self.names = names

    def folder(self, fields: dict[str, Any]) -> Path:
        """Where the bank that ``fields`` describe lies."""
        return self.root / fingerprint_of(fields)

    def lock(self, fields: dict[str, Any]) -> AbstractContextManager[bool]:
        """Wait until no other run reads, builds or removes this bank, and keep others waiting.

        Where the folder cannot be locked, the run goes on without.
        """
        folder = self.folder(fields)
        return locked(lock_of(folder), f"the {fields.get('level', 'memory')} bank {folder}")

    def load(
        self, fields: dict[str, Any], width: int | None = None
    ) -> tuple[MemoryBank | None, str]:
        """The bank that ``fields`` describe, and one line about it.

        Args:
            fields: all that it depends on.
            width: of its features; None: any.

        Returns:
            The bank, or None where there is none that can be trusted; and what was found.
        """
        folder = self.folder(fields)
        try:
            if not folder.is_dir():
                return None, self._nearest(fields)
            bank = read_bank(folder, fields, width)
        except Exception as error:  # whatever files raise that anybody may have written
            return None, f"the bank in {folder} {describe_read_error(error)}"
        with suppress(OSError):
            os.utime(folder / MANIFEST)  # eviction goes by it
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
        """Write the names of the images of a bank that lies here without, or with spoilt ones.

        Raises:
            OSError: if there is no bank, or the folder cannot be written.
        """
        folder = self.folder(fields)
        with self.lock(fields):
            try:
                read_names(folder)
            except ICKDError:
                add_names(folder, self.names())

    def try_save(self, bank: MemoryBank, fields: dict[str, Any]) -> None:
        """Write a bank if that is possible, and make room; a warning says if it is not."""
        try:
            folder = self.save(bank, fields)
        except OSError as error:
            print_log(
                f"The memory bank cannot be cached in {self.root} ({error}): it stays in memory "
                "and is built anew by the next run. Set bank.cache_dir to a folder that can be "
                "written, or to None.",
                logger="current",
                level=30,
            )
        else:
            print_log(f"Memory bank cached in {folder}", logger="current")
            self._make_room(folder)

    def entries(self) -> list[Entry]:
        """Folders of banks, least recently used first; nothing that is not ours."""
        found = []
        with suppress(OSError):
            for path in self.root.iterdir():
                entry = entry_of(path) if FINGERPRINT.fullmatch(path.name) else None
                if entry is not None:
                    found.append(entry)
        return sorted(found, key=lambda entry: (entry.used, entry.folder))

    def prune(
        self,
        wanted: Callable[[Entry], bool] = lambda entry: False,
        limit: float | None = None,
        keep: Path | None = None,
        dry_run: bool = False,
    ) -> list[tuple[Entry, bool]]:
        """Remove banks.

        Args:
            wanted: which of them to remove in any case.
            limit: GiB that may stay; the least recently used go first. None: no limit.
            keep: a folder that stays in any case.
            dry_run: remove nothing.

        Returns:
            What was chosen, and whether it is gone (what is in use stays).
        """
        found = self.entries()
        total = sum(entry.nbytes for entry in found)
        chosen = []
        by_choice = [entry for entry in found if wanted(entry)]
        for entry in [*by_choice, *(entry for entry in found if entry not in by_choice)]:
            too_much = limit is not None and total > limit * GIB
            if entry.folder != keep and (entry in by_choice or too_much):
                gone = dry_run or entry.remove()
                chosen.append((entry, gone))
                total -= entry.nbytes if gone else 0
        return chosen

    def _make_room(self, keep: Path) -> None:
        """Remove what killed writers left, then the least recently used banks above the limit."""

        def is_left(entry: Entry) -> bool:
            return MANIFEST not in entry.names and is_old(entry.used)

        for entry, gone in self.prune(is_left, self.limit, keep):
            limit = f"the cache was above bank.cache_limit={self.limit:g} GiB" if self.limit else ""
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
            if gone:
                print_log(
                    f"Removed the memory bank {entry.folder} ({entry.nbytes / 2**20:.1f} MiB, last "
                    f"used {used}): {'its writer did not finish' if is_left(entry) else limit}",
                    logger="current",
                )
        for lock in self.root.glob("*.lock"):
            orphaned = FINGERPRINT.fullmatch(lock.stem) and not lock.with_suffix("").exists()
            if orphaned and not lock.is_symlink() and is_old(lock.stat().st_mtime):
                with locked(lock) as free, suppress(OSError):
                    lock.unlink() if free else None
        total = sum(entry.nbytes for entry in self.entries()) / GIB
        if self.limit is not None and total > self.limit:
            print_log(
                f"The cache {self.root} holds {total:.2f} GiB, more than "
                f"bank.cache_limit={self.limit:g}: the rest is in use.",
                logger="current",
            )

    def _nearest(self, fields: dict[str, Any]) -> str:
        """Why none of the banks that lie here is the right one."""
        best: tuple[int, str] | None = None
        wanted = {"format": FORMAT_VERSION, **fields}
        for entry in sorted(self.entries(), key=lambda entry: entry.folder):
            try:
                manifest = read_manifest(entry.folder)
                other = {"format": manifest["format"], **manifest["fields"]}
            except Exception:  # as above
                continue
            differing = sorted(k for k in wanted | other if wanted.get(k) != other.get(k))
            text = f"the nearest one, {entry.folder}, has another {one_line(', '.join(differing))}"
            if best is None or len(differing) < best[0]:
                best = len(differing), text
        return f"no bank of this teacher and data set in {self.root}" + (
            f" ({best[1]})" if best else ""
        )


@dataclass(frozen=True)
class StoredBank:
    """The place of a bank in a cache.

    Args:
        cache: where it lies, if it could be written.
        fields: all that it depends on, as rank 0 knows them.
        was_cached: whether it lay there before.
    """

    cache: BankCache
    fields: dict[str, Any]
    was_cached: bool

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.cache.folder(self.fields)
