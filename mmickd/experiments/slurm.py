"""Launch of runs as jobs of a Slurm cluster, through submitit."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmickd.experiments.slurm_queue import (
    PASSING,
    QUERY_SECONDS,
    REPEAT_SECONDS,
    WAITING,
    SlurmQueue,
    check_programs,
    final_state,
    has_gpus,
)
from mmickd.experiments.slurm_task import run_task
from mmickd.utils.errors import ICKDError

FOLDER, NAME = "slurm", "job_name"
SUBMITTING = "submitting"
LOOK_SECONDS = 0.5
"""Least time between two looks for the exit code of a job."""
LAG_SECONDS = 30.0
"""Time that a file of a node may take to appear on this machine, and a state in the queue."""
CANCEL_SECONDS = 60.0
"""Longest wait for the end of a cancelled job."""
RENAMED = {"timeout_min": "time", "mem_gb": "mem", "tasks_per_node": "ntasks_per_node"}
FIXED = ("partition", "job_name", "nodes", "ntasks_per_node", "dependency", "array_parallelism")
"""Options of submitit that are set here."""
GPU_OPTIONS = ("gpus_per_node", "gpus_per_task", "num_gpus", "gres")
INTERRUPTIONS = {
    "PREEMPTED": "another job took its node",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
}
"""States of jobs that ended through no fault of the run; such a run is submitted again."""
KILLS = {
    **INTERRUPTIONS,
    "CANCELLED": "it was cancelled, by scancel or by an administrator",
    "TIMEOUT": "it reached its time limit. Set a longer one: --slurm-options timeout_min=MINUTES",
    "DEADLINE": "it reached its deadline",
    "OUT_OF_MEMORY": "it needed more memory than it had. Set more: --slurm-options mem_gb=GB",
}
"""States of jobs that Slurm ended, with their meaning."""


def slurm_launch(out: Path, partition: str, options: Mapping[str, Any]) -> SlurmLaunch:
    """Return the function that starts runs as jobs of a partition.

    Args:
        out: Folder of all runs, which the nodes share.
        partition: Partition of the cluster.
        options: Options of submitit by name: those of its ``AutoExecutor``, such as
            ``timeout_min``, and ``slurm_additional_parameters.NAME`` for any option of sbatch. A
            run gets one GPU if the partition has GPUs and no option is about GPUs.

    Raises:
        ICKDError: If submitit or Slurm is missing, or partition or options are wrong.
    """
    try:
        import submitit
    except ImportError as error:
        raise ICKDError(
            '--slurm needs submitit, which is not installed: pip install "mmickd[slurm]" (in a '
            "clone: pip install submitit)."
        ) from error
    check_programs()
    parameters = _parameters(options)
    if has_gpus(partition) and not set(GPU_OPTIONS).intersection(parameters):
        parameters["gpus_per_node"] = 1
    executor = submitit.SlurmExecutor(out / FOLDER)
    try:
        executor.update_parameters(**parameters, partition=partition)
    except (ValueError, TypeError) as error:
        raise ICKDError(*f"--slurm-options: {error}".splitlines()) from error
    return SlurmLaunch(executor, out / FOLDER)


def _parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return submitit's parameters of sbatch; a job has the partition's time limit by default."""
    parameters: dict[str, Any] = {"time": None}
    further = {"no-requeue": True}  # a job that Slurm starts again would not resume
    for name, value in options.items():
        key = name.removeprefix("slurm_")
        key = RENAMED.get(key, key)
        if key in FIXED:
            raise ICKDError(f"--slurm-options {name}: mmickd sets this option.")
        if key.startswith("additional_parameters."):
            further[key.partition(".")[2].replace("_", "-")] = value
        else:
            parameters[key] = f"{round(1024 * value)}MB" if name == "mem_gb" else value
    return {**parameters, "additional_parameters": further}


def cancel_left_jobs(out: Path) -> int:
    """Cancel the jobs that a killed command left, and wait until they have ended.

    Without it a run might start in a folder that another process still writes.

    Args:
        out: Folder of all runs.

    Returns:
        Number of jobs.

    Raises:
        ICKDError: If there may be such jobs, and Slurm does not answer or they do not end.
    """
    file = out / FOLDER / NAME
    try:
        name = file.read_text().strip()
    except OSError:
        return 0
    try:
        check_programs()
        count = SlurmQueue(name).cancel_all()
    except ICKDError as error:
        raise ICKDError(
            f"an earlier start of this command was killed, and its Slurm jobs, named {name}, may "
            f"still write into {out}. Cancel them (scancel -n {name}), delete {file}, and start "
            f"again. ({error})"
        ) from error
    file.unlink(missing_ok=True)
    return count


class SlurmLaunch:
    """Function that submits commands as jobs; see :data:`.Launch`.

    Args:
        executor: submitit's executor with the options of the jobs.
        folder: Folder for the files of the jobs, which the nodes share.
    """

    def __init__(self, executor: Any, folder: Path) -> None:
        self._executor, self.folder = executor, folder
        self.queue = SlurmQueue(f"mmickd-{uuid.uuid4().hex[:12]}")
        self._live: set[str] = set()
        executor.update_parameters(job_name=self.queue.name)

    def __call__(self, command: Sequence[str], log: Path, env: dict[str, str]) -> SlurmProcess:
        """Submit a command, whose output goes to ``log``.

        Raises:
            ICKDError: If Slurm refuses the job.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / NAME).write_text(self.queue.name)  # before a kill can leave a job
        log.write_text("")  # not the output of an earlier part
        added = {name: text for name, text in env.items() if os.environ.get(name) != text}
        task = (list(command), log, self.folder, Path.cwd(), added)
        self._live.add(SUBMITTING)  # stays if Ctrl-C interrupts sbatch: the name is kept
        try:
            with _job_environment(env):
                job = self._executor.submit(run_task, *task)
        except RuntimeError as error:  # submitit's, with the message of sbatch
            self.forget(SUBMITTING)
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ICKDError(
                "Slurm refused a job. Check the partition and --slurm-options.", *lines
            ) from error
        self._live = self._live - {SUBMITTING} | {job.job_id}
        self.queue.expect(job.job_id)
        return SlurmProcess(self, job.job_id, log)

    def forget(self, job_id: str, is_done: bool = False) -> None:
        """Forget a job that has ended; the files of a failed job stay."""
        self._live.discard(job_id)
        if is_done:
            for file in self.folder.glob(f"{job_id}[_.]*"):
                file.unlink(missing_ok=True)
            for link in self.folder.glob(".submission_file_*"):
                if not link.exists():
                    link.unlink(missing_ok=True)
        if not self._live:
            (self.folder / NAME).unlink(missing_ok=True)


class SlurmProcess:
    """Job in Slurm's queue as a :class:`.QueuedProcess`.

    Args:
        launch: Function that submitted it.
        job_id: Id of the job.
        log: File with the output of the command; Slurm's reason for its end is appended.
    """

    def __init__(self, launch: SlurmLaunch, job_id: str, log: Path) -> None:
        self._launch, self.job_id, self._log = launch, job_id, log
        self._code: int | None = None
        self._next_look = self._next_cancel = self._cancelled = 0.0
        self._end: float | None = None  # time of the first look after the job left the queue
        self._begin = time.monotonic()
        self.description = f"submitted as Slurm job {job_id}"
        self.seconds_in_queue = 0.0
        self.is_waiting, self.is_interrupted = True, False
        self.versions: dict[str, str] = {}

    def poll(self) -> int | None:
        """Return the exit code; it is negative if the job was cancelled or killed."""
        if self._code is None and time.monotonic() >= self._next_look:
            self._code = self._look()
            self._next_look = time.monotonic() + LOOK_SECONDS
        return self._code

    def send_signal(self, number: int) -> None:
        """Cancel the job unless it has ended; Slurm chooses the signals."""
        if self._code is None and time.monotonic() >= self._next_cancel:
            self._cancelled = self._cancelled or time.monotonic()
            self._launch.queue.cancel(self.job_id)
            self._next_cancel = time.monotonic() + REPEAT_SECONDS

    def _look(self) -> int | None:
        code = self._exit_code()
        if code is not None and code >= 0:
            self._launch.forget(self.job_id, code == 0)
            return code
        state = self._launch.queue.state(self.job_id, 1.0 if self._cancelled else QUERY_SECONDS)
        now = time.monotonic()
        self.is_waiting = state in WAITING
        if self.is_waiting:
            self.seconds_in_queue = now - self._begin
        if state is None or state in PASSING:
            # the next start waits for a job that does not end
            return -signal.SIGTERM if 0 < self._cancelled < now - CANCEL_SECONDS else None
        self._end = self._end or now
        is_lagging = code is None and state not in KILLS and not self._cancelled
        if is_lagging and now < self._end + LAG_SECONDS:
            return None
        state = state or final_state(self.job_id)
        self.is_interrupted = state in INTERRUPTIONS and not self._cancelled
        if not self._cancelled and (code is None or state in KILLS):
            self._explain(state)
        self._launch.forget(self.job_id)
        killed = state in KILLS or bool(self._cancelled)
        return code or (-signal.SIGTERM if killed else 1)

    def _exit_code(self) -> int | None:
        """Return the exit code that the node has written, if any."""
        file = self._launch.folder / f"{self.job_id}.exit"
        try:
            if self._end is not None:
                os.listdir(file.parent)  # makes a network file system look for new files
            result = json.loads(file.read_text())
            code, seconds = int(result["code"]), float(result["seconds"])
            self.versions = dict(result["versions"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self.seconds_in_queue = max(0.0, time.monotonic() - self._begin - seconds)
        return code

    def _explain(self, state: str) -> None:
        """Append the state of the job, and the errors of Slurm, to the log."""
        reason = KILLS.get(
            state,
            "it left no exit code. Slurm's output is below; if there is none, check that the nodes "
            "share the folder --out with this machine",
        )
        errors = self._launch.folder / f"{self.job_id}_0_log.err"
        lines = errors.read_text(errors="replace").splitlines() if errors.is_file() else []
        with self._log.open("a") as file:
            print(f"Slurm job {self.job_id}: {state or 'no longer in the queue'}; {reason}.",
                  *lines[-5:], sep="\n", file=file)  # fmt: skip


@contextmanager
def _job_environment(env: Mapping[str, str]) -> Iterator[None]:
    """Set the environment that a new job inherits, without an allocation of this process."""
    before = dict(os.environ)
    kept = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
    is_allocation = "SLURM_JOB_ID" in env
    os.environ.clear()
    os.environ.update(
        (name, text)
        for name, text in env.items()
        if not (is_allocation and name.startswith("SLURM_")) or name in kept
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
