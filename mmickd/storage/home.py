"""Folders below somebody's home directory, and the one of the banks."""

from __future__ import annotations

import os
from pathlib import Path

from mmickd.utils.errors import ICKDError
from mmickd.utils.text import safe_repr


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` with its home directory and environment variables replaced.

    Raises:
        ICKDError: if there is no such home directory.
    """
    try:
        return Path(os.path.expandvars(path)).expanduser()
    except RuntimeError as error:
        raise ICKDError(
            f"no memory bank can be cached in {safe_repr(str(path))}: {error} Set bank.cache_dir, "
            "or MMICKD_CACHE_DIR, to a folder, or bank.cache_dir to None."
        ) from error


def default_cache_dir() -> Path:
    """``$MMICKD_CACHE_DIR``, else ``~/.cache/mmickd``.

    Raises:
        ICKDError: if there is no such home directory.
    """
    return expanded(os.environ.get("MMICKD_CACHE_DIR") or "~/.cache/mmickd")
