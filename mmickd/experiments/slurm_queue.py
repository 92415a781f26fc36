"""Slurm's queue: states of the jobs of a command, cancelling, and facts about a partition."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress

from mmickd.utils.errors import ICKDError

PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "sinfo")
QUERY_SECONDS = 5.0
"""Least time between two queries of the queue."""
LEFT_SECONDS = 300.0
"""Longest wait for the end of cancelled jobs."""
REPEAT_SECONDS = 10.0
"""Time after which a job is cancelled again, as the controller may have been away."""
PASSING = (
    "PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "RESIZING",
    "STAGE_OUT", "SIGNALING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD",
)  # fmt: skip
"""States of jobs that have not ended."""
WAITING = ("PENDING", "CONFIGURING")
"""States of jobs that have not begun."""


def check_programs() -> None:
    """Check that Slurm's programs are on PATH.

    Raises:
        ICKDError: If one is missing.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise ICKDError(
            f"--slurm needs Slurm, but this machine has no {missing[0]}. Run the command on a "
            "login node of the cluster, or leave out --slurm."
        )


def has_gpus(partition: str) -> bool:
    """True if the nodes of a partition have GPUs.

    Raises:
        ICKDError: If there is no such partition, or Slurm does not answer.
    """
    if not _run("sinfo", "-h", "-p", partition, "-o", "%R"):
        names = sorted(set(_run("sinfo", "-h", "-o", "%R").split()))
        raise ICKDError(
            f"--slurm {partition}: this cluster has no such partition. It has {', '.join(names)}."
        )
    return "gpu" in _run("sinfo", "-h", "-p", partition, "-o", "%G")


class SlurmQueue:
    """Jobs of this user with one name, which the jobs of a command share.

    Args:
        name: Name of the jobs.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._states: dict[str, str] = {}
        self._next = 0.0

    def state(self, job_id: str, seconds: float = QUERY_SECONDS) -> str | None:
        """Return the state of a job, such as 'RUNNING'.

        All jobs share one query, which is repeated after ``seconds``.

        Returns:
            '' if the queue has no such job; None if Slurm has not answered yet.
        """
        self._next = min(self._next, time.monotonic() + seconds)
        if time.monotonic() >= self._next:
            try:
                self._states = self.states()
            except ICKDError:  # the controller is busy or restarts: the last states hold
                self._next = time.monotonic() + QUERY_SECONDS
                return self._states.get(job_id)
            self._next = time.monotonic() + QUERY_SECONDS
        return self._states.get(job_id, "")

    def states(self) -> dict[str, str]:
        """Query the states of all jobs, by their ids; ended jobs are among them for a while.

        Raises:
            ICKDError: If Slurm does not answer.
        """
        user = ["-u", str(os.getuid()), "-n", self.name]
        lines = _run("squeue", "-h", "-t", "all", *user, "-o", "%A %T").splitlines()
        return dict(line.split()[:2] for line in lines)

    def expect(self, job_id: str) -> None:
        """Add a job that was just submitted."""
        self._states[job_id] = "PENDING"
        self._next = 0.0

    def cancel(self, *job_ids: str) -> None:
        """Cancel jobs: Slurm ends their processes by SIGTERM, and soon after by SIGKILL."""
        self._next = 0.0
        with suppress(ICKDError):  # a job may have ended, and callers repeat what failed
            _run("scancel", *job_ids)

    def cancel_all(self) -> int:
        """Cancel all jobs, wait until they have ended, and return their number.

        Raises:
            ICKDError: If Slurm does not answer, or jobs do not end.
        """
        begin, cancelled, repeat = time.monotonic(), set[str](), 0.0
        while alive := [job for job, state in self.states().items() if state in PASSING]:
            if not cancelled.issuperset(alive) or time.monotonic() >= repeat:
                self.cancel(*alive)
                cancelled.update(alive)
                repeat = time.monotonic() + REPEAT_SECONDS
            if time.monotonic() - begin > LEFT_SECONDS:
                raise ICKDError(
                    f"the Slurm jobs {', '.join(alive)} of an earlier start were cancelled and "
                    "have not ended. Wait until they have, and start the command again."
                )
            time.sleep(0.5)
        return len(cancelled)


def final_state(job_id: str) -> str:
    """Return the state of a job that left the queue, by Slurm's accounting; '' without it."""
    try:
        return _run("sacct", "-n", "-X", "-P", "-j", job_id, "-o", "State").split(" ")[0].strip()
    except ICKDError:
        return ""


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip()
        raise ICKDError(f"Slurm does not answer to {' '.join(command)}: {reason}") from error
    return done.stdout.strip()
