"""Files that anybody may have left, read with suspicion; files that are written whole or not."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mmickd.utils.digest import sha256_of

LEFTOVER_SECONDS = 24 * 3600.0


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, but no link, device or pipe.

    Raises:
        OSError: if it is one of these, or cannot be read.
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # not every system has them
        flags |= getattr(os, name, 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path.name} is no regular file")
    return os.fdopen(handle, "rb")


def refuse_link(folder: Path) -> None:
    """Stop at a link, which could lead out of the cache.

    Raises:
        OSError: if it is one.
    """
    if folder.is_symlink():
        raise OSError(f"{folder} is a link")


def sha256(path: Path) -> str:
    """Checksum of a regular file.

    Raises:
        OSError: if it is none, or cannot be read.
    """
    with open_regular(path) as file:
        return sha256_of(file)


def is_old(changed: float) -> bool:
    """Whether what was changed then is believed to have no writer any more."""
    return changed < time.time() - LEFTOVER_SECONDS


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that replaces it when the block ends well."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's 0600 locks out one's group
        with temporary.open("r+b") as file:  # Windows flushes no file that cannot be written
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # gone already if it became the file
