"""Finding a checkpoint that can be resumed from, whatever ended the run."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

_OF_A_RUN = re.compile(r"(iter|epoch)_\d+\.pth")
"""Names of checkpoints with the optimizer's state, as mmengine gives them."""


@dataclass(frozen=True)
class Latest:
    """Where to resume from.

    Args:
        path: the checkpoint; None: from the beginning.
        warning: why it is not the one that ``last_checkpoint`` names; empty if it is.
    """

    path: str | None
    warning: str = ""


def latest_checkpoint(work_dir: str | os.PathLike[str]) -> Latest:
    """The checkpoint that the run in ``work_dir`` wrote last, if it can be read; else one before.

    mmengine writes straight into the file that stays, may write a file again that
    ``last_checkpoint`` names (``save_best``), and with ``max_keep_ckpts=1`` removes the only one
    before it writes the next. A run that is killed then leaves a name that leads to nothing.
    """
    record = Path(work_dir) / "last_checkpoint"
    try:
        named = record.read_text().strip()
    except OSError:
        return Latest(None)
    if named and is_readable(named):
        return Latest(named)
    what = f"{named} is missing or incomplete" if named else f"{record} is empty"
    folders = {Path(work_dir).absolute(), *([Path(named).absolute().parent] if named else [])}
    others = [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if _OF_A_RUN.fullmatch(path.name)
    ]
    for path in sorted(others, key=_written, reverse=True):
        if is_readable(path):
            return Latest(str(path), f"{what}: resuming from {path}, the newest complete one.")
    return Latest(None, f"{what} and there is no other checkpoint: starting from the beginning.")


def is_readable(path: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint is there and complete.

    A file of ``torch.save`` is a zip archive whose table of contents comes last, with a checksum of
    each part. Folders (of distributed checkpoints) and what is on no local disk are taken for
    readable.
    """
    name = os.fspath(path)
    if "://" in name or os.path.isdir(name):
        return True
    try:
        with zipfile.ZipFile(name) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError):
        return False


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns
