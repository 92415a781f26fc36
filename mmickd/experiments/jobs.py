"""Jobs: commands that leave a folder behind, and a stamp in it when they ended well.

A job that was stopped leaves a stamp of another name: the same one may go on from its checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmickd.experiments.processes import Launch, Process, spawn
from mmickd.experiments.training_log import last_checkpoint
from mmickd.utils.collect_env import software_and_device

PACKAGE_PARENT = Path(__file__).resolve().parents[3]
STAMP = "done.json"
BEGUN = "begun.json"
LOG = "log.txt"
TEACHER = "{teacher}"
"""Place of the teacher's last checkpoint in a command."""


@dataclass(frozen=True, eq=False)
class Job:
    """One command, run in its own process.

    Args:
        name: what the progress lines call it.
        command: program and arguments; ``{teacher}`` stands for the last checkpoint of ``teacher``.
        folder: what it makes; emptied before it starts, unless it goes on.
        inputs: text that decides the outcome beside the command (configs, data parameters).
        after: jobs that must be done before.
        cost: rough duration in seconds, for the first estimate.
        steps: length of the training in units of ``unit``, 0 where the job does not train.
        unit: 'epoch' or 'iter'.
        resume: arguments by which it goes on from its last checkpoint; none: it cannot.
        identity: texts that stand for the command in the signature, without paths of the machine;
            none: the command itself.
        teacher: job whose last checkpoint the command reads.
    """

    name: str
    command: Sequence[str]
    folder: Path
    inputs: str = ""
    after: tuple[Job, ...] = ()
    cost: float = 5.0
    steps: int = 0
    unit: str = "iter"
    resume: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    teacher: Job | None = None

    @property
    def signature(self) -> str:
        """Digest of all that decides the outcome, the jobs before it included."""
        command = self.identity or self.command
        parts = [*command, self.inputs, *(job.signature for job in self.after)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def log(self) -> Path:
        """Output of the command."""
        return self.folder / LOG

    def stamp(self) -> dict[str, Any] | None:
        """What was noted when it had been run to its end; None if it was not."""
        return self._noted(STAMP)

    def duration(self) -> float | None:
        """Seconds that it took when it was run to its end; None if it was not."""
        stamp = self.stamp()
        return None if stamp is None else stamp["seconds"]

    def finished(self) -> float | None:
        """Time at which it ended well, in nanoseconds since the epoch; None if it did not."""
        return (self.folder / STAMP).stat().st_mtime_ns if self.stamp() is not None else None

    def _noted(self, name: str) -> dict[str, Any] | None:
        """The stamp of this name, if it is of this very job."""
        try:
            stamp = json.loads((self.folder / name).read_text())
            stamp["seconds"] = float(stamp["seconds"])
            return stamp if stamp["signature"] == self.signature else None
        except (OSError, ValueError, TypeError, KeyError):  # none, or what a kill left of one
            return None

    def note(self, name: str, seconds: float, **more: Any) -> None:
        """Leave the stamp of this name."""
        stamp = dict(signature=self.signature, seconds=round(seconds, 1), **more)
        (self.folder / name).write_text(json.dumps(stamp))

    def start(self, env: dict[str, str], launch: Launch = spawn) -> Running:
        """Start the command where it was stopped if it can go on, else in an empty folder."""
        stopped = self._noted(BEGUN) if self._can_go_on() else None
        if stopped is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        before = stopped["seconds"] if stopped else 0.0
        command = [*self.full_command(), *(self.resume if stopped else ())]
        self.note(BEGUN, before)
        return Running(self, launch(command, self.log, env), time.monotonic() - before)

    def full_command(self) -> list[str]:
        """Return the command with the teacher's last checkpoint, which must be trained by then."""
        if self.teacher is None:
            return list(self.command)
        checkpoint = str(self.teacher.checkpoint())
        return [part.replace(TEACHER, checkpoint) for part in self.command]

    def checkpoint(self) -> Path:
        """Return the last checkpoint of a training; the expected one where mmengine named none."""
        try:
            return last_checkpoint(self.folder)
        except OSError:
            return self.folder / f"{self.unit}_{self.steps}.pth"

    def _can_go_on(self) -> bool:
        """Whether there is a checkpoint, and steps after it: without any, nothing is validated."""
        try:
            reached = int(last_checkpoint(self.folder).stem.rpartition("_")[2])
        except (OSError, ValueError):
            return False
        return bool(self.resume) and reached < self.steps


@dataclass(eq=False)
class Running:
    """A job whose process was started.

    Args:
        job: what runs.
        process: its process.
        begin: when it was started; earlier by the time that it had before it was stopped.
    """

    job: Job
    process: Process
    begin: float

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begin

    def stamp(self) -> None:
        """Say in the folder that the job is done."""
        self.job.note(STAMP, self.elapsed, versions=software_and_device())
        self.forget()

    def forget(self) -> None:
        """Have it start afresh the next time, if there is one."""
        (self.job.folder / BEGUN).unlink(missing_ok=True)

    def stop(self) -> None:
        """End the process; the job goes on the next time, if it can."""
        self.process.terminate()
        self.job.note(BEGUN, self.elapsed)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def environment() -> dict[str, str]:
    """One thread per run, and the package of this checkout where it is one."""
    added = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    if (PACKAGE_PARENT / "pyproject.toml").is_file():
        added["PYTHONPATH"] = str(PACKAGE_PARENT)
    return added
