"""Entry of the cache: the folder of a bank or of an unfinished bank."""

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
    """Return the lock file of a bank; it is beside the folder, as the folder may be removed."""
    return folder.with_name(f"{folder.name}.lock")


@dataclass(frozen=True)
class Entry:
    """Folder of the cache with a bank or an unfinished bank.

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
        """True if the folder has the files that every bank needs."""
        return {MANIFEST, TENSORS} <= set(self.names)

    def fault(self) -> str:
        """Return why the bank cannot be used; empty if it can, or if another version wrote it.

        The whole bank is read.
        """
        if not self.is_whole:
            return "is incomplete"
        try:
            manifest = read_manifest(self.folder)
            if manifest.get("format") != FORMAT_VERSION:
                return ""
            if fingerprint_of(manifest["fields"]) != self.folder.name:
                return "does not match the name of its folder"
            read_bank(self.folder, manifest["fields"])
        except Exception as error:  # any error that changed files cause
            return describe_read_error(error)
        return ""

    def fault_of_names(self) -> str:
        """Return why the image names cannot be used; empty if they can or never existed."""
        try:
            if CHECKSUM in read_manifest(self.folder):
                read_names(self.folder)
        except (ICKDError, OSError) as error:
            return str(error)
        return ""

    def remove(self) -> bool:
        """Remove the folder unless another process holds its lock.

        Several processes may do this at the same time. A process that is reading the bank at this
        moment builds it again.

        Returns:
            True if the folder is gone.
        """
        lock = lock_of(self.folder)
        with locked(lock) as is_free, suppress(OSError):
            if not is_free:
                return False
            # The manifest is first: if the removal is interrupted, the other files are no bank.
            for name in sorted(self.names, key=lambda name: name != MANIFEST):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()
            lock.unlink(missing_ok=True)
        return not self.folder.exists()


def entry_of(folder: Path) -> Entry | None:
    """Return the entry of a folder; None for a link, or if the folder has other files."""
    try:
        files = {item.name: item.lstat() for item in folder.iterdir()}
        folder_stat = folder.lstat()
    except OSError:  # no folder, removed by another process, or not readable
        return None
    are_ours = all(name in FILES or name.startswith(TEMPORARIES) for name in files)
    has_folder = any(stat.S_ISDIR(file.st_mode) for file in files.values())
    if not are_ours or has_folder or not stat.S_ISDIR(folder_stat.st_mode):
        return None
    latest = [files[MANIFEST]] if MANIFEST in files else [folder_stat, *files.values()]
    nbytes = sum(file.st_size for file in files.values())
    return Entry(folder, tuple(files), nbytes, max(file.st_mtime for file in latest))


def describe_read_error(error: BaseException) -> str:
    """Return why a bank cannot be used, from the error of reading it; completes 'the bank ...'."""
    if isinstance(error, BankMismatch):
        return str(error)
    return f"cannot be read ({shorten(f'{type(error).__name__}: {error}')})"
