"""A folder of the cache: a bank, an unfinished bank, or nothing that this package wrote."""

from __future__ import annotations

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
from mmickd.storage.files import MANIFEST, read_manifest
from mmickd.storage.image_names import CHECKSUM, read_names
from mmickd.utils.errors import ICKDError
from mmickd.utils.locking import locked
from mmickd.utils.text import shorten


def lock_of(folder: Path) -> Path:
    """Return the lock file of a bank, which lies beside its folder: the folder may be removed."""
    return folder.with_name(f"{folder.name}.lock")


@dataclass(frozen=True)
class Entry:
    """Folder of the cache with a bank, or an unfinished one.

    Args:
        folder: Path of the folder.
        names: Names of its files.
        nbytes: Size of all files.
        used: Time at which the bank was last read or written; an unfinished bank has the time of
            its last change.
    """

    folder: Path
    names: tuple[str, ...]
    nbytes: int
    used: float

    @property
    def is_whole(self) -> bool:
        """True if it has the files that every bank needs."""
        return {MANIFEST, TENSORS} <= set(self.names)

    def fault(self) -> str:
        """Return why it cannot be used; empty if it can, or another version wrote it.

        All of it is read.
        """
        if not self.is_whole:
            return "is incomplete"
        try:
            manifest = read_manifest(self.folder)
            if manifest.get("format") != FORMAT_VERSION:
                return ""
            if fingerprint_of(manifest["fields"]) != self.folder.name:
                return "is another bank than its name says"
            read_bank(self.folder, manifest["fields"])
        except Exception as error:  # any error that changed files cause
            return describe_read_error(error)
        return ""

    def fault_of_names(self) -> str:
        """Return why its image names cannot be used; empty if they can, or it never had any."""
        try:
            if CHECKSUM in read_manifest(self.folder):
                read_names(self.folder)
        except (ICKDError, OSError) as error:
            return str(error)
        return ""

    def remove(self) -> bool:
        """Remove the folder unless another process holds its lock.

        Several processes may do this at the same time. A process that is reading the bank
        meanwhile builds it anew.

        Returns:
            True if the folder is gone.
        """
        lock = lock_of(self.folder)
        with locked(lock) as is_free, suppress(OSError):
            if not is_free:
                return False
            # The manifest first: if this is interrupted, the rest is no bank.
            for name in sorted(self.names, key=lambda name: name != MANIFEST):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()
            lock.unlink(missing_ok=True)
        return not self.folder.exists()


def entry_of(folder: Path) -> Entry | None:
    """Return the entry of a folder; None for a link, or if it holds any file not of a bank."""
    try:
        files = {item.name: item.lstat() for item in folder.iterdir()}
        about = folder.lstat()
    except OSError:  # no folder, removed by another process, or not readable
        return None
    are_ours = all(name in FILES or name.startswith(TEMPORARIES) for name in files)
    has_folder = any(stat.S_ISDIR(file.st_mode) for file in files.values())
    if not are_ours or has_folder or not stat.S_ISDIR(about.st_mode):
        return None
    last = [files[MANIFEST]] if MANIFEST in files else [about, *files.values()]
    nbytes = sum(file.st_size for file in files.values())
    return Entry(folder, tuple(files), nbytes, max(file.st_mtime for file in last))


def describe_read_error(error: BaseException) -> str:
    """Return why a bank cannot be used whose files raise this; completes 'the bank ...'."""
    if isinstance(error, BankMismatch):
        return str(error)
    return f"cannot be read ({shorten(f'{type(error).__name__}: {error}')})"
