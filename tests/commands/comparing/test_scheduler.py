"""The orchestrator with tiny commands: order, resuming, failing."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from mmickd.commands.comparing.jobs import Job
from mmickd.commands.comparing.scheduler import JobFailed, Scheduler


def job(folder: Path, code: str, after: tuple[Job, ...] = (), inputs: str = "") -> Job:
    return Job(folder.name, [sys.executable, "-c", code], folder, inputs, after, cost=1)


def append(file: Path, text: str) -> str:
    return f"open({str(file)!r}, 'a').write({text!r})"


def run(*jobs: Job, workers: int = 2) -> list[str]:
    lines: list[str] = []
    Scheduler(jobs, workers, {}, every=0.1, say=lines.append).run()
    return lines


def test_jobs_wait_for_what_they_need(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    first = job(tmp_path / "first", "import time; time.sleep(0.5); " + append(trace, "1"))
    second = job(tmp_path / "second", append(trace, "2"), (first,))
    lines = run(first, second)
    assert trace.read_text() == "12"
    assert any("0/2 done" in line and "first: " in line for line in lines)


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


def test_time_left_follows_the_log(tmp_path: Path) -> None:
    training = Job("t", ["true"], tmp_path / "t", cost=10, steps=100)
    logs = tmp_path / "t" / "20250101" / "vis_data"
    scheduler = Scheduler([training], 1, {}, say=lambda line: None)
    running = training.start({})
    running.begin -= 20.0
    logs.mkdir(parents=True)
    (logs / "scalars.json").write_text(json.dumps(dict(loss=1.0, iter=50)) + "\n{half")
    running.process.wait()
    # 20 s for half of it, and 20 s expected at this pace: (20 + 40) / 2 - 20
    scheduler.running = [running]
    assert scheduler._left(running) == pytest.approx(10.0, abs=0.5)
