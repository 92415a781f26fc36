"""Runs jobs side by side, round by round, and says every few seconds where they are."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable

from mmickd.experiments.jobs import Job, Running
from mmickd.experiments.processes import Launch, spawn
from mmickd.experiments.training_log import steps_done

TAIL = 15
POLL_SECONDS = 0.2


class JobFailed(RuntimeError):
    """A job ended badly; the message has the end of its log and its command."""


class TimeIsUp(RuntimeError):
    """The time that was given is over, with jobs left to do."""


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, ``2:05``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _stop(error: JobFailed) -> None:
    raise error


class Scheduler:
    """Runs what is not done yet, each job after those that it needs.

    Args:
        workers: jobs at a time.
        env: environment variables to add.
        every: seconds between two progress lines.
        say: takes a line on what was started and what is done.
        show: takes a line on what runs now; None: the same as ``say``.
        launch: starts a job's command.
        minutes: stop what runs then; None: take the time that it needs.
        after_each: called when a job has been done.
        on_failure: called with the error of a job that ended badly, unless it was killed; raises it
            to stop all, as it must if others wait for that job.
    """

    def __init__(
        self,
        workers: int,
        env: dict[str, str],
        every: float = 5.0,
        say: Callable[[str], None] = lambda line: print(line, flush=True),
        launch: Launch = spawn,
        minutes: float | None = None,
        after_each: Callable[[], None] = lambda: None,
        show: Callable[[str], None] | None = None,
        on_failure: Callable[[JobFailed], None] = _stop,
    ) -> None:
        self.workers, self.every, self.after_each = workers, every, after_each
        self.say, self.show, self.on_failure = say, show or say, on_failure
        self.env, self.launch = {**os.environ, **env}, launch
        self.jobs: list[Job] = []
        self.done: dict[Job, float] = {}
        self.ran: dict[Job, float] = {}
        self.failed: list[Job] = []
        self.running: list[Running] = []
        self.begin = time.monotonic()
        self.end = float("inf") if minutes is None else self.begin + 60 * minutes

    def run(self, jobs: Iterable[Job]) -> None:
        """Run these until all are done; another round of jobs may follow.

        Args:
            jobs: those that others need before them; some may have been in an earlier round.

        Raises:
            JobFailed: If a job ends badly; the others are stopped.
            TimeIsUp: If not all are done in time; what runs is stopped.
        """
        self._take([job for job in jobs if job not in self.jobs])
        said = 0.0
        try:
            while len(self.done) + len(self.failed) < len(self.jobs):
                if time.monotonic() >= self.end:
                    raise TimeIsUp("time is up; the same command goes on from here")
                self._start_ready()
                self._collect()
                if time.monotonic() - said >= self.every and self.running:
                    said = time.monotonic()
                    self._report()
                time.sleep(POLL_SECONDS)
        finally:
            for running in self.running:  # all of them, before waiting for one
                running.process.terminate()
            for running in self.running:
                running.stop()

    def _take(self, jobs: list[Job]) -> None:
        self.jobs += jobs
        for job in jobs:
            seconds = job.duration()
            if seconds is not None and all(before in self.done for before in job.after):
                self.done[job] = seconds
                self._line(job, f"done before (took {clock(seconds)}), skipped")

    def _start_ready(self) -> None:
        taken = self._taken()
        for job in self.jobs:
            if len(self.running) >= self.workers:
                return
            if job in taken or any(b not in self.done for b in job.after):
                continue
            self.running.append(job.start(self.env, self.launch))
            self._line(job, "started")

    def _collect(self) -> None:
        for running in list(self.running):
            code = running.process.poll()
            if code is None:
                continue
            self.running.remove(running)
            if code != 0:
                error = JobFailed(_failure(running.job, code))
                if code < 0:  # it was killed, and may go on the next time
                    raise error
                running.forget()  # what failed may be mended before the next start
                self.on_failure(error)
                self.failed.append(running.job)
                self._line(running.job, f"failed, see {running.job.log}")
                continue
            running.stamp()
            self.done[running.job] = self.ran[running.job] = running.elapsed
            self._line(running.job, f"done in {clock(running.elapsed)}")
            self.after_each()

    def _report(self) -> None:
        """One line: every running job with its time, then the whole."""
        parts = []
        for running in self.running:
            job, left = running.job, self._left(running)
            share = f"{job.unit} {steps_done(job.folder, job.unit)}/{job.steps}, "
            share = share if job.steps else ""
            parts.append(f"{job.name}: {share}{clock(running.elapsed)}, ~{clock(left)} left")
        parts.append(f"{len(self.done)}/{len(self.jobs)} done, ~{clock(self._left_overall())} left")
        self.show(f"{self._now()} {' | '.join(parts)}")

    def _pace(self) -> float:
        """How much longer than expected the jobs take on this machine."""
        seconds, cost = sum(self.ran.values()), sum(job.cost for job in self.ran)
        for running in self.running:  # one that is late already says something too
            if running.elapsed > running.job.cost:
                seconds, cost = seconds + running.elapsed, cost + running.job.cost
        return seconds / cost if cost else 1.0

    def _left(self, running: Running) -> float:
        expected = running.job.cost * self._pace()
        job = running.job
        done = steps_done(job.folder, job.unit) / job.steps if job.steps else 0.0
        if done > 0.2:
            expected = 0.5 * expected + 0.5 * running.elapsed / done
        return max(1.0, expected - running.elapsed)

    def _taken(self) -> set[Job]:
        """Those that were started, or need not be."""
        return {*self.done, *self.failed, *(running.job for running in self.running)}

    def _left_overall(self) -> float:
        taken = self._taken()
        waiting = [job for job in self.jobs if job not in taken]
        seconds = sum(map(self._left, self.running)) + self._pace() * sum(j.cost for j in waiting)
        return seconds / self.workers

    def _line(self, job: Job, state: str) -> None:
        self.say(f"{self._now()} {job.name:24} {state}")

    def _now(self) -> str:
        return f"[{clock(time.monotonic() - self.begin):>5}]"


def _failure(job: Job, code: int) -> str:
    tail = job.log.read_text(errors="replace").splitlines()[-TAIL:]
    return "\n".join(
        [f"{job.name} failed with code {code}. The end of its log:", *(f"    {x}" for x in tail),
         f"The whole log: {job.log}", f"Its command: {shlex.join(job.full_command())}"]
    )  # fmt: skip


def available_cores() -> int:
    """Cores that this process may use."""
    if sys.platform.startswith("linux"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
