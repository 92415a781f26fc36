"""Jobs that look like trainings and take no time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmickd.experiments.jobs import STAMP, Job

TRAINING = """
import sys, time
from pathlib import Path

here = Path({folder!r})
reached = int(here.joinpath("reached").read_text()) if "--resume" in sys.argv else 0
for step in range(reached + 1, 4):
    (here / "reached").write_text(str(step))
    (here / "last_checkpoint").write_text(str(here / f"iter_{{step}}.pth"))
    with open(here.parent / "trace", "a") as trace:
        trace.write(str(step))
    if step == {at} and "--resume" not in sys.argv:
        {then}
"""


def training(folder: Path, then: str, at: int = 2, **changes: Any) -> Job:
    """Three steps, each appended to ``trace`` beside the folder.

    Args:
        folder: of the job.
        then: what it does after step ``at``, unless it was resumed.
        at: the step.
        changes: of the job.
    """
    code = TRAINING.format(folder=str(folder), at=at, then=then)
    command = [sys.executable, "-c", code]
    return Job("training", command, folder, **{"steps": 3, "resume": ("--resume",), **changes})


METRIC = "accuracy/top1"


def finish(job: Job, *values: float) -> None:
    """Have a job done, with these values of the metric."""
    logs = job.folder / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    lines = [{"loss": 1.0, "time": 0.01, "step": 1}]
    lines += [{METRIC: value, "step": step} for step, value in enumerate(values, 1)]
    (logs / "scalars.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    job.note(STAMP, 12.0, versions=dict(torch="2"))


def wait_until(true: Callable[[], bool], what: str, seconds: float = 90) -> None:
    """Until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


def wait_for(file: Path, text: str) -> None:
    """Until the file says this."""
    wait_until(lambda: file.is_file() and file.read_text() == text, f"{file} said {text}")


def is_running(pid: int) -> bool:
    """Whether there is such a process (on Linux); one that nobody has waited for has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
