"""What lies in a cache folder, and taking it away: only what this package wrote."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmickd.banks.locking import if_free
from mmickd.banks.stored import MANIFEST, TENSORS

FINGERPRINT = re.compile(r"[0-9a-f]{24}")
LOCK_SUFFIX = ".lock"
TEMPORARIES = (f".{TENSORS}.", f".{MANIFEST}.")
"""How names of files begin that are still being written."""


@dataclass(frozen=True)
class Entry:
    """A folder of the cache.

    Args:
        folder: where it lies.
        files: size in bytes and time of change of each file, by name.
        changed: time of change of the folder.
    """

    folder: Path
    files: dict[str, tuple[int, float]]
    changed: float

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(size for size, _ in self.files.values())

    @property
    def used(self) -> float:
        """When the bank was last read or written; of rubbish, when it was last changed."""
        if MANIFEST in self.files:
            return self.files[MANIFEST][1]
        return max([self.changed, *(time for _, time in self.files.values())])

    @property
    def is_whole(self) -> bool:
        """Whether both files of a bank are there."""
        return MANIFEST in self.files and TENSORS in self.files

    @property
    def temporaries(self) -> list[Path]:
        """Files whose writer is at work, or was killed."""
        return [self.folder / name for name in self.files if name.startswith(TEMPORARIES)]


def lock_of(folder: Path) -> Path:
    """The lock file of a bank; outside of its folder, which comes and goes."""
    return folder.with_name(folder.name + LOCK_SUFFIX)


def entries(root: Path) -> list[Entry]:
    """The banks in a cache folder, least recently used first; nothing that is not ours."""
    found = []
    with suppress(OSError):
        for path in root.iterdir():
            entry = _look(path) if FINGERPRINT.fullmatch(path.name) else None
            if entry is not None:
                found.append(entry)
    return sorted(found, key=lambda entry: (entry.used, entry.folder))


def orphaned_locks(root: Path) -> list[Path]:
    """Lock files of banks that do not lie here (any more, or yet)."""
    with suppress(OSError):
        return [
            path
            for path in sorted(root.glob(f"*{LOCK_SUFFIX}"))
            if FINGERPRINT.fullmatch(path.name.removesuffix(LOCK_SUFFIX))
            and stat.S_ISREG(path.lstat().st_mode)
            and not path.with_suffix("").exists()
        ]
    return []


def remove(entry: Entry) -> bool:
    """Take a bank away, unless somebody holds its lock.

    Others may do the same at the same time. Whoever reads the bank meanwhile builds it anew.

    Returns:
        Whether it is gone.
    """
    lock = lock_of(entry.folder)
    with if_free(lock) as free, suppress(OSError):
        if not free:
            return False
        # The manifest first: without it the rest is no bank, should this be interrupted.
        for name in sorted(entry.files, key=lambda name: name != MANIFEST):
            (entry.folder / name).unlink(missing_ok=True)
        entry.folder.rmdir()
        lock.unlink(missing_ok=True)
    return not entry.folder.exists()


def _look(folder: Path) -> Entry | None:
    """A folder, if it is one (no link to one) and holds nothing but what a bank may leave."""
    files = {}
    try:
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode):
            return None
        for item in os.scandir(folder):
            known = item.name in (TENSORS, MANIFEST) or item.name.startswith(TEMPORARIES)
            if not known or item.is_dir(follow_symlinks=False):
                return None
            inside = item.stat(follow_symlinks=False)
            files[item.name] = inside.st_size, inside.st_mtime
    except OSError:  # removed by another run, or not ours to read
        return None
    return Entry(folder, files, about.st_mtime)
