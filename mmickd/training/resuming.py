"""Search for a complete checkpoint to resume from, even after a kill."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

_WITH_OPTIMIZER = re.compile(r"(iter|epoch)_\d+\.pth")
"""Pattern of mmengine's file names of checkpoints with the optimizer's state."""


@dataclass(frozen=True)
class LatestCheckpoint:
    """Checkpoint to resume from.

    Args:
        path: Path of the checkpoint; None: start from the beginning.
        warning: Reason if it is not the checkpoint that ``last_checkpoint`` names, else empty.
    """

    path: str | None
    warning: str = ""


def latest_checkpoint(work_dir: str | os.PathLike[str]) -> LatestCheckpoint:
    """Return the checkpoint that ``last_checkpoint`` names if it is complete, else an earlier one.

    mmengine writes a checkpoint in place and may overwrite the checkpoint that ``last_checkpoint``
    names (``save_best``). With ``max_keep_ckpts=1`` it removes the only checkpoint before it writes
    the next. After a kill, ``last_checkpoint`` may thus name a missing or incomplete file.
    """
    record = Path(work_dir) / "last_checkpoint"
    try:
        named = record.read_text().strip()
    except OSError:
        return LatestCheckpoint(None)
    if named and is_readable(named):
        return LatestCheckpoint(named)
    reason = f"{named} is missing or incomplete" if named else f"{record} is empty"
    folders = {Path(work_dir).absolute(), *([Path(named).absolute().parent] if named else [])}
    candidates = [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if _WITH_OPTIMIZER.fullmatch(path.name)
    ]
    for path in sorted(candidates, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if is_readable(path):
            return LatestCheckpoint(
                str(path), f"{reason}: resuming from {path}, the newest complete checkpoint."
            )
    return LatestCheckpoint(
        None, f"{reason} and there is no other checkpoint: starting from the beginning."
    )


def is_readable(path: str | os.PathLike[str]) -> bool:
    """True if a checkpoint exists and is complete.

    A file of ``torch.save`` is a zip archive with a checksum of each part, and its table of
    contents comes last. Folders (distributed checkpoints) and remote files count as readable.
    """
    name = os.fspath(path)
    if "://" in name or os.path.isdir(name):
        return True
    try:
        with zipfile.ZipFile(name) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError):
        return False
