"""Commands that look like trainings and take no time, and logs of finished runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

METRIC = "accuracy/top1"

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


def training_code(folder: Path, then: str, at: int = 2) -> str:
    """Return Python code of three steps, each appended to ``trace`` beside the folder.

    Args:
        folder: Folder of the job.
        then: Statement to run after step ``at``, unless the job was resumed.
        at: Step.
    """
    return TRAINING.format(folder=str(folder), at=at, then=then)


def write_finished_run(folder: Path, signature: str, *values: float) -> None:
    """Write the log and the stamp of a run with these values of the metric."""
    logs = folder / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    lines: list[dict[str, Any]] = [{"loss": 1.0, "time": 0.01, "step": 1}]
    lines += [{METRIC: value, "step": step} for step, value in enumerate(values, 1)]
    (logs / "scalars.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    stamp = dict(signature=signature, seconds=12.0, versions=dict(torch="2"))
    (folder / "done.json").write_text(json.dumps(stamp))


def finish(job: Any, *values: float) -> None:
    """Write the results of a job with ``folder`` and ``signature``."""
    write_finished_run(job.folder, job.signature, *values)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s until {what}"
        time.sleep(0.02)


def wait_for(file: Path, text: str) -> None:
    """Wait until a file has this text."""
    wait_until(lambda: file.is_file() and file.read_text() == text, f"{file} is {text}")


def is_running(pid: int) -> bool:
    """True if there is such a process (on Linux); a zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
