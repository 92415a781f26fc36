"""A folder of the cache: a bank, half of one, or nothing of ours."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmickd.storage.bank_files import (
    FILES,
    FORMAT_VERSION,
    TEMPORARIES,
    TENSORS,
    BankMismatch,
    fingerprint_of,
    read_bank,
)
from mmickd.storage.image_names import CHECKSUM, read_names
from mmickd.storage.manifest import MANIFEST, read_manifest
from mmickd.utils.errors import ICKDError
from mmickd.utils.locking import locked
from mmickd.utils.quoting import one_line


def lock_of(folder: Path) -> Path:
    """The lock file of a bank; outside of its folder, which comes and goes."""
    return folder.with_name(f"{folder.name}.lock")


@dataclass(frozen=True)
class Entry:
    """A folder of the cache: a bank, or half of one.

    Args:
        folder: where it lies.
        names: of its files.
        nbytes: of all files.
        used: when the bank was last read or written; of rubbish, when it was last changed.
    """

    folder: Path
    names: tuple[str, ...]
    nbytes: int
    used: float

    @property
    def is_whole(self) -> bool:
        """Whether the files are there without which it is no bank."""
        return {MANIFEST, TENSORS} <= set(self.names)

    def fault(self) -> str:
        """Why it cannot be used; empty if it can, or is another version's. Reads all of it."""
        if not self.is_whole:
            return "is incomplete"
        try:
            manifest = read_manifest(self.folder)
            if manifest.get("format") != FORMAT_VERSION:
                return ""
            if fingerprint_of(manifest["fields"]) != self.folder.name:
                return "is another bank than its name says"
            read_bank(self.folder, manifest["fields"])
        except Exception as error:  # whatever files raise that anybody may have written
            return describe_read_error(error)
        return ""

    def fault_of_names(self) -> str:
        """Why the names of its images cannot be used; empty if they can, or it never had any."""
        try:
            if CHECKSUM in read_manifest(self.folder):
                read_names(self.folder)
        except (ICKDError, OSError) as error:
            return str(error)
        return ""

    def remove(self) -> bool:
        """Take it away, unless somebody holds its lock; others may do the same at the same time.

        Whoever reads the bank meanwhile builds it anew.

        Returns:
            Whether it is gone.
        """
        lock = lock_of(self.folder)
        with locked(lock) as free, suppress(OSError):
            if not free:
                return False
            # The manifest first: without it the rest is no bank, should this be interrupted.
            for name in sorted(self.names, key=lambda name: name != MANIFEST):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()
            lock.unlink(missing_ok=True)
        return not self.folder.exists()


def entry_of(folder: Path) -> Entry | None:
    """A folder, if it is one (no link to one) and holds nothing but what a bank may leave."""
    try:
        files = {item.name: item.lstat() for item in folder.iterdir()}
        about = folder.lstat()
    except OSError:  # no folder, removed by another run, or not ours to read
        return None
    known = all(name in FILES or name.startswith(TEMPORARIES) for name in files)
    if not known or not all(map(_is_plain, files.values())) or not stat.S_ISDIR(about.st_mode):
        return None
    last = [files[MANIFEST]] if MANIFEST in files else [about, *files.values()]
    nbytes = sum(file.st_size for file in files.values())
    return Entry(folder, tuple(files), nbytes, max(file.st_mtime for file in last))


def _is_plain(file: os.stat_result) -> bool:
    return not stat.S_ISDIR(file.st_mode)


def describe_read_error(error: BaseException) -> str:
    """What is said of a bank whose files raise this; it goes on 'the bank ...'."""
    if isinstance(error, BankMismatch):
        return str(error)
    return f"cannot be read ({one_line(f'{type(error).__name__}: {error}')})"
