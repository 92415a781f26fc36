"""Scheduler that runs jobs side by side and shows their progress."""

from __future__ import annotations

import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from mmickd.experiments.jobs import BEGUN, STAMP, Job
from mmickd.experiments.launch import Launch, QueuedProcess, environment, quickest_launch, spawn
from mmickd.experiments.training_log import steps_done
from mmickd.utils.atomic import atomic_write
from mmickd.utils.collect_env import software_and_device
from mmickd.utils.json_files import to_json

TAIL = 15
"""Lines of the log in the message of a failed job."""
POLL_SECONDS, BARS_SECONDS, LINE_SECONDS = 0.2, 1.0, 30.0


class JobFailed(RuntimeError):
    """Error of a failed job; the message has the end of the log and the command."""


class TimeIsUp(RuntimeError):
    """Error of a time limit that was reached before all jobs were done."""


class RunningJob:
    """Running job: it was resumed if possible, otherwise started in an empty folder."""

    def __init__(self, job: Job, launch: Launch = spawn) -> None:
        begun = job.stamp(BEGUN) if job.can_resume() else None
        if begun is None:
            shutil.rmtree(job.folder, ignore_errors=True)
            job.folder.mkdir(parents=True)
        seconds = begun["seconds"] if begun else 0.0
        job.write_stamp(BEGUN, seconds)
        self.job, self.begin = job, time.monotonic() - seconds
        command = [*job.full_command(), *(job.resume if begun else ())]
        self.process = launch(command, job.log, environment())

    @property
    def queued(self) -> QueuedProcess | None:
        """Process if it may wait in a queue; None on this machine."""
        return self.process if isinstance(self.process, QueuedProcess) else None

    @property
    def elapsed(self) -> float:
        """Seconds since the start, including the time before a stop, but not in a queue."""
        waited = self.queued.seconds_in_queue if self.queued else 0.0
        return time.monotonic() - self.begin - waited

    def progress(self, steps: int) -> str:
        """Return the name with the number of steps done, for a line of progress."""
        job = self.job
        if self.queued and self.queued.is_waiting:
            return f"{job.name} in the queue"
        return f"{job.name} {job.unit} {steps}/{job.steps}" if job.steps else job.name

    def finish(self, is_done: bool) -> None:
        """Stamp the job as done; a failed job starts from its beginning the next time."""
        if is_done:
            versions = (self.queued and self.queued.versions) or software_and_device()
            self.job.write_stamp(STAMP, self.elapsed, versions=versions)
        (self.job.folder / BEGUN).unlink(missing_ok=True)

    def stop(self) -> None:
        """End the process; the job resumes the next time, if possible."""
        self.process.send_signal(signal.SIGTERM)
        self.job.write_stamp(BEGUN, self.elapsed)
        end = time.monotonic() + 10
        while self.process.poll() is None:
            if time.monotonic() > end:
                self.process.send_signal(signal.SIGKILL)
            time.sleep(0.02)


class Scheduler:
    """Scheduler that runs unfinished jobs, each after the jobs that it depends on.

    Args:
        workers: Number of jobs at a time.
        launch: Function that starts the command of a job.
        minutes: Time limit, if any.
        report_line: Function that is called with every line of progress. None: lines are printed,
            and on a terminal the running jobs are shown as bars below the lines.
        after_each: Function that is called whenever a job is done.
        keep_going: Function that is called when a job fails that no other job depends on. If it
            returns True, the failure is reported and the other jobs continue. A killed job always
            raises an error.
    """

    def __init__(
        self,
        workers: int,
        launch: Launch = spawn,
        minutes: float | None = None,
        report_line: Callable[[str], None] | None = None,
        after_each: Callable[[], None] = lambda: None,
        keep_going: Callable[[], bool] = lambda: False,
    ) -> None:
        self.workers, self.launch = workers, launch
        self.after_each, self.keep_going = after_each, keep_going
        self.jobs: list[Job] = []
        self.done: set[Job] = set()
        self.failed: list[Job] = []
        self.running: list[RunningJob] = []
        self.ran: dict[Job, float] = {}
        self.begin = time.monotonic()
        self.end = float("inf") if minutes is None else self.begin + 60 * minutes
        self._report_line, self._next_show, console = report_line, 0.0, Console(highlight=False)
        # The display uses no thread, as it is not safe to fork a process with threads.
        self._bars = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            console=console, auto_refresh=False, transient=True,
            disable=report_line is not None or not console.is_terminal,
        )  # fmt: skip

    def report_line(self, line: str) -> None:
        """Print a line above the bars."""
        if self._report_line is not None:
            self._report_line(line)
        elif self._bars.disable:
            print(line, flush=True)
        else:
            self._bars.console.print(Text(line))

    def run(self, jobs: Iterable[Job]) -> None:
        """Run jobs until all are done; another round of jobs may follow.

        Args:
            jobs: Jobs, each after the jobs that it depends on; jobs of an earlier round may
                be among them.

        Raises:
            JobFailed: If a job fails and ``keep_going`` does not return True; other jobs are
                stopped.
            TimeIsUp: If the time limit is reached; running jobs are stopped.
        """
        for job in jobs:
            if job not in self.jobs:
                self.jobs.append(job)
                stamp = job.stamp()
                if stamp is not None and self.done.issuperset(job.after):
                    self.done.add(job)
                    self._report(
                        job, f"done before (took {format_duration(stamp['seconds'])}), skipped"
                    )
        try:
            with self._bars:
                while len(self.done) + len(self.failed) < len(self.jobs):
                    if time.monotonic() >= self.end:
                        raise TimeIsUp("time is up; the same command resumes from here")
                    self._start_ready()
                    self._collect()
                    self._show()
                    time.sleep(POLL_SECONDS)
        finally:
            for running in self.running:  # signal all jobs before waiting for any of them
                running.process.send_signal(signal.SIGTERM)
            for running in self.running:
                running.stop()

    def _waiting(self) -> list[Job]:
        """Return the jobs that are yet to start."""
        started = {*self.done, *self.failed, *(running.job for running in self.running)}
        return [job for job in self.jobs if job not in started]

    def _start_ready(self) -> None:
        for job in self._waiting():
            if len(self.running) < self.workers and self.done.issuperset(job.after):
                running = RunningJob(job, self.launch)
                self.running.append(running)
                self._report(job, running.queued.description if running.queued else "started")

    def _collect(self) -> None:
        for running in list(self.running):
            job, code = running.job, running.process.poll()
            if code is None:
                continue
            self.running.remove(running)
            if code < 0:  # the job was killed, and may resume
                if not (running.queued and running.queued.is_interrupted):
                    raise JobFailed(_failure(job, code))
                job.write_stamp(BEGUN, running.elapsed)
                self._report(job, "lost its machine, will start again")
                continue
            running.finish(code == 0)
            if code == 0:
                self.done.add(job)
                self.ran[job] = running.elapsed
                count = (
                    f"{len(self.done)}/{len(self.jobs)} done, ~{format_duration(self._left())} left"
                )
                self._report(job, f"done in {format_duration(running.elapsed)}; {count}")
                self.after_each()
            else:  # the cause may be fixed before the next start
                error = JobFailed(_failure(job, code))
                is_needed = any(job in other.after for other in self.jobs)
                if is_needed or not self.keep_going():
                    raise error
                self.failed.append(job)
                self.report_line(str(error))

    def _left(self) -> float:
        """Return the expected seconds until all jobs are done, from durations of finished jobs."""
        cost = sum(job.cost for job in self.ran)
        pace = sum(self.ran.values()) / cost if cost else 1.0
        left = [pace * job.cost for job in self._waiting()]
        left += [max(1.0, pace * r.job.cost - r.elapsed) for r in self.running]
        return sum(left) / self.workers

    def _show(self) -> None:
        """Show the progress of the running jobs: bars on a terminal, else a line now and then."""
        if time.monotonic() < self._next_show:
            return
        steps = {
            r: steps_done(r.job.folder, r.job.unit) if r.job.steps else 0 for r in self.running
        }
        left = f"~{format_duration(self._left())} left"
        if self._bars.disable:
            if self._next_show and steps:  # nothing is known when the first jobs start
                states = [r.progress(done) for r, done in steps.items()]
                passed = format_duration(time.monotonic() - self.begin)
                count = f"{len(self.done)}/{len(self.jobs)} done"
                self.report_line(f"[{passed:>5}] running: {', '.join(states)}; {count}, {left}")
            self._next_show = time.monotonic() + LINE_SECONDS
            return
        self._next_show = time.monotonic() + BARS_SECONDS
        for task in self._bars.task_ids:
            self._bars.remove_task(task)
        for running, done in steps.items():
            description = f"{running.job.name} {format_duration(running.elapsed)}"
            self._bars.add_task(description, completed=done, total=running.job.steps or None)
        self._bars.add_task(f"all jobs, {left}", completed=len(self.done), total=len(self.jobs))
        self._bars.refresh()

    def _report(self, job: Job, state: str) -> None:
        self.report_line(
            f"[{format_duration(time.monotonic() - self.begin):>5}] {job.name:24} {state}"
        )


def run_rounds(
    rounds: Iterable[Sequence[Job]],
    records: Callable[[], Iterable[Mapping[str, Any]]],
    out: Path,
    workers: int,
    minutes: float | None = None,
    keep_going: Callable[[], bool] = lambda: False,
    launch: Launch | None = None,
) -> None:
    """Run the jobs of each round with a :class:`Scheduler`, and keep ``results.jsonl`` up to date.

    ``records`` returns the records of all finished runs. A round is read from ``rounds`` when the
    earlier rounds are done, as it may depend on their results. ``launch`` starts the runs; None:
    the fastest function of this machine.
    """
    out.mkdir(parents=True, exist_ok=True)

    def keep() -> None:
        with atomic_write(out / "results.jsonl") as temporary:
            temporary.write_text("".join(f"{to_json(record)}\n" for record in records()))

    launch = launch or quickest_launch(out)
    scheduler = Scheduler(workers, launch, minutes, after_each=keep, keep_going=keep_going)
    for jobs in rounds:
        keep()
        scheduler.report_line(f"{len(jobs)} runs, {workers} at a time, below {out}")
        scheduler.run(jobs)
    keep()


def _failure(job: Job, code: int) -> str:
    tail = job.log.read_text(errors="replace").splitlines()[-TAIL:]
    return "\n".join(
        [f"{job.name} failed with code {code}. The end of its log:", *(f"    {x}" for x in tail),
         f"The whole log: {job.log}", f"Its command: {shlex.join(job.full_command())}"]
    )  # fmt: skip


def format_duration(seconds: float) -> str:
    """Format seconds as minutes and seconds, ``2:05``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
