"""Jobs: commands that leave a folder behind, and a stamp in it when they ended well."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmickd.commands.comparing.processes import Launch, Process, spawn

PACKAGE_PARENT = Path(__file__).resolve().parents[3]
STAMP = "done.json"
LOG = "log.txt"


@dataclass(frozen=True, eq=False)
class Job:
    """One command, run in its own process.

    Args:
        name: what the progress lines call it.
        command: program and arguments.
        folder: what it makes; emptied before it starts.
        inputs: text that decides the outcome beside the command (configs, data parameters).
        after: jobs that must be done before.
        cost: rough duration in seconds, for the first estimate.
        steps: length of the training in units of ``unit``, 0 where the job does not train.
        unit: 'epoch' or 'iter'.
    """

    name: str
    command: Sequence[str]
    folder: Path
    inputs: str = ""
    after: tuple[Job, ...] = ()
    cost: float = 5.0
    steps: int = 0
    unit: str = "iter"

    @property
    def signature(self) -> str:
        """Digest of all that decides the outcome, the jobs before it included."""
        parts = [*self.command, self.inputs, *(job.signature for job in self.after)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def log(self) -> Path:
        """Output of the command."""
        return self.folder / LOG

    def duration(self) -> float | None:
        """Seconds that it took when it was run to its end; None if it was not."""
        try:
            stamp = json.loads((self.folder / STAMP).read_text())
            return float(stamp["seconds"]) if stamp["signature"] == self.signature else None
        except (OSError, ValueError, TypeError, KeyError):  # none, or what a kill left of one
            return None

    def start(self, env: dict[str, str], launch: Launch = spawn) -> Running:
        """Empty the folder and start the command."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return Running(self, launch(self.command, self.log, env))


@dataclass(eq=False)
class Running:
    """A job whose process was started."""

    job: Job
    process: Process
    begin: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begin

    def stamp(self) -> None:
        """Say in the folder that the job is done."""
        stamp = dict(signature=self.job.signature, seconds=round(self.elapsed, 1))
        (self.job.folder / STAMP).write_text(json.dumps(stamp))

    def stop(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.terminate()
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
