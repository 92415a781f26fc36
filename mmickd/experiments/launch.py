"""Start of commands as processes of this machine, and what the scheduler needs of a process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from mmickd.experiments.fork_server import ForkServer, can_fork, end_with_parent

PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class Process(Protocol):
    """Process of a job, on this machine or elsewhere, such as :class:`subprocess.Popen`."""

    def poll(self) -> int | None:
        """Return the exit code, which is negative if a signal ended the process; None before."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal unless the process has ended."""


@runtime_checkable
class QueuedProcess(Process, Protocol):
    """Process that waits in a queue before it starts, and that may lose its machine."""

    description: str
    """Text for the line of progress at the start, such as 'submitted as Slurm job 7'."""
    seconds_in_queue: float
    """Seconds before its start."""
    is_waiting: bool
    """True before its start."""
    is_interrupted: bool
    """True if the process ended for a reason outside of its command, which may start again."""
    versions: dict[str, str]
    """Packages and device of the machine that ran the process; empty before its end."""


Launch = Callable[[Sequence[str], Path, dict[str, str]], Process]
"""Function that starts a command, given a file for its output and its environment."""


def spawn(command: Sequence[str], log: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a command; on Linux it ends when this process ends."""
    with log.open("w") as file:
        return subprocess.Popen(
            list(command), stdout=file, stderr=subprocess.STDOUT, env=env,
            preexec_fn=end_with_parent,
        )  # fmt: skip


def environment() -> dict[str, str]:
    """Return the environment of runs, with one thread and the package of this checkout, if any."""
    added = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    if (PACKAGE_PARENT / "pyproject.toml").is_file():
        added["PYTHONPATH"] = str(PACKAGE_PARENT)
    return {**os.environ, **added}


def quickest_launch(out: Path) -> Launch:
    """Return the fastest function that starts runs on this machine; its log is in ``out``."""
    return ForkServer(environment(), out / "imports.txt") if can_fork() else spawn
