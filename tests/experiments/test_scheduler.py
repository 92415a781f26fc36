"""The orchestrator with tiny commands: order, rounds, going on, failing, being stopped."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from mmickd.experiments.jobs import Job
from mmickd.experiments.scheduler import JobFailed, Scheduler, TimeIsUp
from tests.helpers.jobs import training


def job(folder: Path, code: str, after: tuple[Job, ...] = (), inputs: str = "") -> Job:
    return Job(folder.name, [sys.executable, "-c", code], folder, inputs, after, cost=1)


def append(file: Path, text: str) -> str:
    return f"open({str(file)!r}, 'a').write({text!r})"


def run(*jobs: Job, workers: int = 2) -> list[str]:
    lines: list[str] = []
    Scheduler(workers, {}, every=0.1, say=lines.append).run(jobs)
    return lines


def test_jobs_wait_for_what_they_need(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    first = job(tmp_path / "first", "import time; time.sleep(0.5); " + append(trace, "1"))
    second = job(tmp_path / "second", append(trace, "2"), (first,))
    lines = run(first, second)
    assert trace.read_text() == "12"
    assert any("0/2 done" in line and "first: " in line for line in lines)


def test_what_runs_now_may_be_shown_elsewhere(tmp_path: Path) -> None:
    said: list[str] = []
    shown: list[str] = []
    one = job(tmp_path / "one", "import time; time.sleep(0.5)")
    Scheduler(1, {}, every=0.1, say=said.append, show=shown.append).run([one])
    assert [line.split()[-1] for line in said] == ["started", "0:00"]
    assert shown and all("0/1 done" in line for line in shown)


def test_finished_jobs_are_skipped(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    jobs = [job(tmp_path / name, append(trace, name)) for name in ("a", "b")]
    run(jobs[0])
    lines = run(*jobs)
    assert trace.read_text() == "ab"
    assert any(line.endswith("skipped") and " a " in line for line in lines)


def test_a_change_runs_the_job_and_what_follows_again(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for inputs in ("old", "new"):
        first = job(tmp_path / "first", append(trace, "1"), inputs=inputs)
        run(first, job(tmp_path / "second", append(trace, "2"), (first,)))
    assert trace.read_text() == "1212"


def test_an_interrupted_job_starts_afresh(tmp_path: Path) -> None:
    one = job(tmp_path / "one", f"open({str(tmp_path / 'one' / 'half')!r}, 'x')")
    one.start({}).process.wait()  # no stamp, as after an interruption
    run(one)
    assert (tmp_path / "one" / "done.json").is_file()


def test_a_failure_shows_its_log_and_command_and_stops_the_others(tmp_path: Path) -> None:
    bad = job(tmp_path / "bad", "print('the reason'); raise SystemExit(3)")
    slow = job(tmp_path / "slow", "import time; time.sleep(60)")
    begin = time.monotonic()
    with pytest.raises(JobFailed) as caught:
        run(slow, bad)
    assert time.monotonic() - begin < 30
    message = str(caught.value)
    assert "bad failed with code 3" in message and "the reason" in message
    assert sys.executable in message and str(bad.log) in message
    assert bad.duration() is None and slow.duration() is None


def test_a_failure_need_not_stop_the_others(tmp_path: Path) -> None:
    trace, errors = tmp_path / "trace", []
    bad = job(tmp_path / "bad", "raise SystemExit(3)")
    good = job(tmp_path / "good", append(trace, "1"))
    scheduler = Scheduler(1, {}, say=lambda line: None, on_failure=errors.append)
    scheduler.run([bad, good])
    assert scheduler.failed == [bad] and list(scheduler.done) == [good]
    assert "bad failed with code 3" in str(errors[0])
    killed = job(tmp_path / "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(JobFailed, match="killed failed with code -9"):
        scheduler.run([killed])


def test_a_round_may_follow_and_ask_for_what_is_done(tmp_path: Path) -> None:
    trace, calls = tmp_path / "trace", []
    first = job(tmp_path / "first", append(trace, "1"))
    second = job(tmp_path / "second", append(trace, "2"), (first,))
    scheduler = Scheduler(
        1, {}, say=lambda line: None, after_each=lambda: calls.append(trace.read_text())
    )
    scheduler.run([first])
    scheduler.run([first, second])
    assert trace.read_text() == "12" and calls == ["1", "12"]


def test_when_time_is_up_what_runs_is_stopped(tmp_path: Path) -> None:
    quick = job(tmp_path / "quick", "")
    slow = job(tmp_path / "slow", "import time; time.sleep(60)", (quick,))
    scheduler = Scheduler(2, {}, say=lambda line: None, minutes=2 / 60)
    begin = time.monotonic()
    with pytest.raises(TimeIsUp, match="the same command goes on"):
        scheduler.run([quick, slow])
    assert time.monotonic() - begin < 15
    assert quick.duration() is not None and slow.duration() is None
    assert scheduler.running[0].process.poll() is not None


def test_a_job_that_failed_starts_afresh(tmp_path: Path) -> None:
    bad = training(tmp_path / "one", "sys.exit(1)")
    for _ in range(2):
        with pytest.raises(JobFailed):
            run(bad)
    assert (tmp_path / "trace").read_text() == "1212"


def test_time_left_follows_the_log(tmp_path: Path) -> None:
    training = Job("t", ["true"], tmp_path / "t", cost=10, steps=100)
    logs = tmp_path / "t" / "20250101" / "vis_data"
    scheduler = Scheduler(1, {}, say=lambda line: None)
    running = training.start({})
    running.begin -= 20.0
    logs.mkdir(parents=True)
    (logs / "scalars.json").write_text(json.dumps(dict(loss=1.0, iter=50, step=50)) + "\n{half")
    running.process.wait()
    # 20 s for half of it, and 20 s expected at this pace: (20 + 40) / 2 - 20
    scheduler.running = [running]
    assert scheduler._left(running) == pytest.approx(10.0, abs=0.5)
