"""Jobs: commands that fill a folder, which gets a stamp.

A finished job has the stamp ``done.json``. A stopped job has the stamp ``begun.json`` and resumes
from its checkpoint if possible.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmickd.experiments.training_log import last_checkpoint

STAMP, BEGUN, LOG = "done.json", "begun.json", "log.txt"
TEACHER = "{teacher}"
"""Placeholder for the teacher's last checkpoint in a command."""


@dataclass(frozen=True, eq=False)
class Job:
    """Command that runs in a process."""

    name: str
    command: Sequence[str]  # ``{teacher}`` stands for the last checkpoint of ``teacher``
    folder: Path  # output of the command; emptied before a start, unless the job resumes
    inputs: str = ""  # further text that decides the result, such as configs
    after: tuple[Job, ...] = ()  # jobs that must be done first
    cost: float = 5.0  # rough duration in seconds, for the first estimate
    steps: int = 0  # length of the training in units of ``unit``; 0: no training
    unit: str = "iter"  # or 'epoch'
    resume: tuple[str, ...] = ()  # further arguments of a resumed job; empty: it cannot resume
    identity: tuple[str, ...] = ()  # replaces the command, which has local paths, in the signature
    teacher: Job | None = None

    @property
    def signature(self) -> str:
        """Digest of all that decides the result, including the jobs in ``after``."""
        command = self.identity or self.command
        parts = [*command, self.inputs, *(job.signature for job in self.after)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def log(self) -> Path:
        """File with the output of the command."""
        return self.folder / LOG

    def stamp(self, name: str = STAMP) -> dict[str, Any] | None:
        """Return the stamp of a finished job; None if it is missing or has another signature.

        The stamp has at least 'signature', 'seconds', and 'time' (of the file, in nanoseconds).
        """
        file = self.folder / name
        try:
            stamp = {**json.loads(file.read_text()), "time": file.stat().st_mtime_ns}
            stamp["seconds"] = float(stamp["seconds"])
            return stamp if stamp["signature"] == self.signature else None
        except (OSError, ValueError, TypeError, KeyError):  # missing, or truncated by a kill
            return None

    def write_stamp(self, name: str, seconds: float, **more: Any) -> None:
        """Write a stamp, which is valid as long as the signature stays the same."""
        stamp = dict(signature=self.signature, seconds=round(seconds, 1), **more)
        (self.folder / name).write_text(json.dumps(stamp))

    def full_command(self) -> list[str]:
        """Return the command with the checkpoint of the teacher, whose job must be done."""
        if self.teacher is None:
            return list(self.command)
        checkpoint = str(self.teacher.checkpoint())
        return [part.replace(TEACHER, checkpoint) for part in self.command]

    @property
    def final_checkpoint(self) -> Path:
        """File of the checkpoint after the last step of a training, whether it exists or not."""
        return self.folder / f"{self.unit}_{self.steps}.pth"

    def checkpoint(self) -> Path:
        """Return the last checkpoint of a training; the expected file if none is recorded."""
        try:
            return last_checkpoint(self.folder)
        except OSError:
            return self.final_checkpoint

    def can_resume(self) -> bool:
        """True if there is a checkpoint before the last step (after it, nothing is validated)."""
        try:
            reached = int(last_checkpoint(self.folder).stem.rpartition("_")[2])
        except (OSError, ValueError):
            return False
        return bool(self.resume) and reached < self.steps
