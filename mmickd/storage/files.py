"""Folders, manifests and files of the cache, read safely, as they may have been changed.

The manifest makes a folder a bank. It holds the cache key of the bank (``fields``) and the
checksums of the other files.
"""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any, BinaryIO

from mmickd.utils.atomic import atomic_write
from mmickd.utils.digest import sha256_of
from mmickd.utils.errors import ICKDError
from mmickd.utils.text import safe_repr

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 2**20
"""Maximum size of a manifest; the manifests of this package have about 1 kB."""
LEFTOVER_SECONDS = 24 * 3600.0
"""Minimum age of an unfinished file that counts as left behind by a killed process."""


def default_cache_dir() -> Path:
    """Return ``$MMICKD_CACHE_DIR``, else ``~/.cache/mmickd``.

    Raises:
        ICKDError: If the home directory is unknown.
    """
    return cache_folder(os.environ.get("MMICKD_CACHE_DIR") or "~/.cache/mmickd")


def cache_folder(path: str | os.PathLike[str]) -> Path:
    """Return a cache folder with ``~`` and environment variables replaced.

    Raises:
        ICKDError: If the home directory is unknown.
    """
    try:
        return Path(os.path.expandvars(path)).expanduser()
    except RuntimeError as error:
        raise ICKDError(
            f"no memory bank can be cached in {safe_repr(str(path))}: {error} Set bank.cache_dir, "
            "or MMICKD_CACHE_DIR, to a folder, or bank.cache_dir to None."
        ) from error


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; links, devices and pipes are refused.

    Raises:
        OSError: If ``path`` is not a regular file, or cannot be read.
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
    """Raise an error for a link, which could lead out of the cache.

    Raises:
        OSError: If ``folder`` is a link.
    """
    if folder.is_symlink():
        raise OSError(f"{folder} is a link")


def sha256(path: Path) -> str:
    """Return the checksum of a regular file.

    Raises:
        OSError: If ``path`` is not a regular file, or cannot be read.
    """
    with open_regular(path) as file:
        return sha256_of(file)


def is_leftover(changed: float) -> bool:
    """True if an unfinished file, last changed at time ``changed``, has no writer any more."""
    return changed < time.time() - LEFTOVER_SECONDS


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest of a folder; all files that it describes must exist.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_write(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2, sort_keys=True))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder.

    Raises:
        OSError: If there is no such file, or it is not a regular file.
        ValueError: If it is too large, or is no JSON dict with the key ``fields``.
    """
    with open_regular(folder / MANIFEST) as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    if len(data) > MAX_MANIFEST_BYTES:
        raise ValueError(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")
    manifest = json.loads(data)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("fields"), dict):
        raise ValueError(f"{MANIFEST} does not describe a bank")
    return manifest
