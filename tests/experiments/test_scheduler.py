"""The scheduler with tiny commands: stamps, order, rounds, resuming, failing, being stopped."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import mmickd
from mmickd.experiments import scheduler as scheduler_module
from mmickd.experiments.jobs import BEGUN, LOG, STAMP, Job
from mmickd.experiments.launch import environment, spawn
from mmickd.experiments.scheduler import (
    JobFailed,
    RunningJob,
    Scheduler,
    TimeIsUp,
    run_rounds,
)
from tests.helpers.jobs import training_code, wait_for, wait_until


def job(folder: Path, code: str = "print('done')", **options: Any) -> Job:
    return Job(folder.name, [sys.executable, "-c", code], folder, **{"cost": 1, **options})


def training(folder: Path, then: str, at: int = 2, **options: Any) -> Job:
    code = training_code(folder, then, at)
    return job(folder, code, **{"steps": 3, "resume": ("--resume",), **options})


def append(file: Path, text: str) -> str:
    return f"open({str(file)!r}, 'a').write({text!r})"


def run(*jobs: Job, workers: int = 2) -> list[str]:
    lines: list[str] = []
    Scheduler(workers, report_line=lines.append).run(jobs)
    return lines


def seconds(of: Job) -> float | None:
    stamp = of.stamp()
    return None if stamp is None else stamp["seconds"]


def end(running: RunningJob) -> int:
    wait_until(lambda: running.process.poll() is not None, "the job ended")
    code = running.process.poll()
    assert code is not None
    return code


def test_a_finished_job_leaves_its_stamp_and_its_output(tmp_path: Path) -> None:
    first = job(tmp_path / "a", "import time; print('text'); time.sleep(0.3)")
    assert first.stamp() is None
    run(first)
    stamp = first.stamp()
    assert stamp is not None and 0.2 <= stamp["seconds"] <= 60
    assert first.log.read_text() == "text\n"
    assert {path.name for path in first.folder.iterdir()} == {LOG, STAMP}
    assert job(first.folder, first.command[2]).stamp() == stamp  # recognised by another process
    versions = stamp["versions"]
    assert {"mmickd", "torch", "mmengine", "mmseg", "device", "python"} <= set(versions)
    assert "/" not in "".join(versions.values())


def test_a_folder_is_emptied_before_the_job_starts(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    for name in ("half.pth", "deep/half.pth", STAMP):
        (tmp_path / "a" / name).write_text("{}")
    listing = job(tmp_path / "a", f"import os; print(sorted(os.listdir({str(tmp_path / 'a')!r})))")
    assert end(RunningJob(listing)) == 0
    assert listing.log.read_text() == f"['{BEGUN}', '{LOG}']\n"
    assert listing.stamp() is None  # the scheduler has not seen its end
    run(listing)
    assert listing.stamp() is not None


SLEEP = "time.sleep(60)"


@pytest.mark.parametrize(
    ("first", "again", "trace"),
    [
        (dict(at=2), dict(at=2), "123"),
        (dict(at=2), dict(at=2, inputs="other"), "1212"),
        (dict(at=2), dict(at=2, resume=()), "1212"),
        (dict(at=3), dict(at=3), "123123"),
    ],
    ids=["resumes", "another job", "cannot resume", "has no step left to validate after"],
)
def test_a_job_that_was_stopped_resumes_or_starts_from_the_beginning(
    tmp_path: Path, first: dict[str, Any], again: dict[str, Any], trace: str
) -> None:
    before, file = training(tmp_path / "a", SLEEP, **first), tmp_path / "trace"
    running = RunningJob(before)
    wait_for(file, "123"[: first["at"]])
    running.begin -= 100.0
    running.stop()
    assert running.process.poll() == -signal.SIGTERM and before.stamp() is None
    running.stop()  # it has ended
    second = RunningJob(training(tmp_path / "a", SLEEP, **again))
    wait_for(file, trace)
    assert (second.elapsed > 100.0) == (trace == "123")  # the time of both parts
    second.stop()


def test_a_job_that_was_killed_with_its_scheduler_resumes(tmp_path: Path) -> None:
    """All that is left is the stamp that it has begun."""
    killed = training(tmp_path / "a", SLEEP)
    running = RunningJob(killed)
    wait_for(tmp_path / "trace", "12")
    running.process.send_signal(signal.SIGKILL)
    end(running)
    run(killed)
    assert killed.stamp() is not None and (tmp_path / "trace").read_text() == "123"


def test_a_job_that_failed_starts_from_the_beginning(tmp_path: Path) -> None:
    bad = training(tmp_path / "a", "sys.exit(1)")
    for _ in range(2):
        with pytest.raises(JobFailed):
            run(bad)
    assert (tmp_path / "trace").read_text() == "1212"


def test_runs_have_one_thread_and_this_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR", "red")
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH", "COLOUR"]
    printing = job(tmp_path / "a", f"import os; print(*map(os.environ.get, {names}))")
    run(printing)
    package = Path(mmickd.__file__).parents[1]
    assert printing.log.read_text() == f"1 1 {package} red\n"
    assert environment()["PYTHONPATH"] == str(package)


def test_jobs_wait_for_what_they_need(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    first = job(tmp_path / "first", "import time; time.sleep(0.5); " + append(trace, "1"))
    second = job(tmp_path / "second", append(trace, "2"), after=(first,))
    lines = run(first, second)
    assert trace.read_text() == "12"
    assert [line.split()[-1] for line in lines if "started" in line] == ["started"] * 2
    assert [("1/2 done" in line, "2/2 done" in line) for line in lines if "done in" in line] == [
        (True, False), (False, True)
    ]  # fmt: skip


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
        run(first, job(tmp_path / "second", append(trace, "2"), after=(first,)))
    assert trace.read_text() == "1212"


def test_a_failure_shows_its_log_and_command_and_stops_the_others(tmp_path: Path) -> None:
    bad = job(tmp_path / "bad", "print('the reason'); raise SystemExit(3)")
    slow = job(tmp_path / "slow", "import time; time.sleep(60)")
    begin = time.monotonic()
    with pytest.raises(JobFailed) as caught:
        run(slow, bad)
    assert time.monotonic() - begin < 30
    message = str(caught.value)
    assert "bad" in message and "code 3" in message and "the reason" in message
    assert sys.executable in message and str(bad.log) in message
    assert bad.stamp() is None and slow.stamp() is None


def test_a_failure_need_not_stop_the_others(tmp_path: Path) -> None:
    trace, lines = tmp_path / "trace", []
    bad = job(tmp_path / "bad", "raise SystemExit(3)")
    good = job(tmp_path / "good", append(trace, "1"))
    scheduler = Scheduler(1, report_line=lines.append, keep_going=lambda: True)
    scheduler.run([bad, good])
    assert scheduler.failed == [bad] and scheduler.done == {good}
    assert any("code 3" in line for line in lines)
    killed = job(tmp_path / "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(JobFailed, match="code -9"):
        scheduler.run([killed])


def test_a_failure_of_a_job_that_others_need_stops_all(tmp_path: Path) -> None:
    needed = job(tmp_path / "needed", "raise SystemExit(3)")
    scheduler = Scheduler(1, report_line=lambda line: None, keep_going=lambda: True)
    with pytest.raises(JobFailed, match="needed"):
        scheduler.run([needed, job(tmp_path / "after", after=(needed,))])


def test_a_round_may_follow_with_jobs_that_are_done(tmp_path: Path) -> None:
    trace, calls = tmp_path / "trace", []
    first = job(tmp_path / "first", append(trace, "1"))
    second = job(tmp_path / "second", append(trace, "2"), after=(first,))
    scheduler = Scheduler(
        1, report_line=lambda line: None, after_each=lambda: calls.append(trace.read_text())
    )
    scheduler.run([first])
    scheduler.run([first, second])
    assert trace.read_text() == "12" and calls == ["1", "12"]


def test_records_are_written_after_each_job(tmp_path: Path) -> None:
    out = tmp_path / "out"
    jobs = [job(out / name) for name in ("a", "b")]
    states: list[str] = []

    def records() -> list[dict[str, Any]]:
        states.append("".join(j.name for j in jobs if j.stamp() is not None))
        return [dict(name=name, last=float("nan")) for name in states[-1]]

    run_rounds([[jobs[0]], [jobs[1]]], records, out, workers=1, launch=spawn)
    assert sorted(set(states)) == ["", "a", "ab"]
    assert (out / "results.jsonl").read_text().splitlines()[-1] == '{"name": "b", "last": null}'
    assert sorted(path.name for path in out.iterdir()) == ["a", "b", "results.jsonl"]


def test_when_time_is_up_what_runs_is_stopped(tmp_path: Path) -> None:
    quick = job(tmp_path / "quick", "")
    slow = job(tmp_path / "slow", "import time; time.sleep(60)", after=(quick,))
    scheduler = Scheduler(2, report_line=lambda line: None, minutes=3 / 60)
    begin = time.monotonic()
    with pytest.raises(TimeIsUp):
        scheduler.run([quick, slow])
    assert time.monotonic() - begin < 15
    assert quick.stamp() is not None and slow.stamp() is None
    assert scheduler.running[0].process.poll() is not None


def test_the_estimate_follows_the_pace_of_the_jobs(tmp_path: Path) -> None:
    jobs = [Job(name, ["true"], tmp_path / name, cost=10) for name in "abc"]
    scheduler = Scheduler(2, report_line=lambda line: None)
    scheduler.jobs = jobs
    assert scheduler._left() == 15.0
    scheduler.done, scheduler.ran = {jobs[0]}, {jobs[0]: 20.0}  # twice its cost
    scheduler.running = [RunningJob(jobs[1])]
    scheduler.running[0].begin -= 5.0
    assert scheduler._left() == pytest.approx((15 + 20) / 2, abs=0.5)


def test_a_terminal_shows_bars_below_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    scheduler = Scheduler(1)
    for name in ("a [red]", "b"):  # two rounds
        scheduler.run([training(tmp_path / name, "time.sleep(0.5)")])
    text = capsys.readouterr().out
    assert text.count("started") == 2 and "all jobs" in text
    assert "0/3" in text and "a [red] 0:00" in text and "b 0:00" in text


def test_a_file_or_a_pipe_gets_a_line_of_progress_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "LINE_SECONDS", 0.1)
    lines = run(
        training(tmp_path / "a", "time.sleep(1)"), job(tmp_path / "b", "import time; time.sleep(1)")
    )
    progress = [line for line in lines if "running" in line]
    assert progress and "a iter" in progress[0] and "/3" in progress[0]
    assert all("b" in line and "0/2 done" in line for line in progress[:1])
