"""A command, its folder, and how it is known that it has been run."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from mmickd.experiments.jobs import BEGUN, LOG, STAMP, Job, environment
from tests.helpers.jobs import training, wait_for


def job(folder: Path, code: str = "print('done')", **options: Any) -> Job:
    return Job("one", [sys.executable, "-c", code], folder, **options)


def done(one: Job) -> Job:
    """The same job after it was run."""
    running = one.start(dict(os.environ))
    assert running.process.wait(60) == 0
    running.stamp()
    return one


def test_a_job_that_ended_well_leaves_its_duration_and_its_output(tmp_path: Path) -> None:
    one = job(tmp_path / "one", "import time; print('said'); time.sleep(0.3)")
    assert one.duration() is None
    done(one)
    assert 0.2 <= one.duration() <= 60 and one.log.read_text() == "said\n"
    assert {path.name for path in one.folder.iterdir()} == {LOG, STAMP}
    assert job(one.folder, one.command[2]).duration() == one.duration()  # told by another process


def test_a_folder_is_emptied_before_the_job_starts(tmp_path: Path) -> None:
    (tmp_path / "one" / "deep").mkdir(parents=True)
    for name in ("half.pth", "deep/half.pth", STAMP):
        (tmp_path / "one" / name).write_text("{}")
    one = job(tmp_path / "one", f"import os; print(sorted(os.listdir({str(tmp_path / 'one')!r})))")
    one.start(dict(os.environ)).process.wait(60)
    assert one.log.read_text() == f"['{BEGUN}', '{LOG}']\n"
    assert one.duration() is None  # nobody has stamped it


def test_a_job_has_the_environment_that_it_is_given(tmp_path: Path) -> None:
    one = job(tmp_path / "one", "import os; print(os.environ['COLOUR'])")
    one.start({**os.environ, "COLOUR": "red"}).process.wait(60)
    assert one.log.read_text() == "red\n"


BEFORE = Job("before", ["true"], Path("before"))
CHANGES: dict[str, Any] = {
    "command": dict(command=["false"]),
    "an argument more": dict(command=["true", ""]),
    "inputs": dict(inputs="b"),
    "a job before": dict(after=(BEFORE,)),
    "another job before": dict(after=(Job("before", ["true"], Path("before"), inputs="b"),)),
    "one far before": dict(after=(Job("before", ["true"], Path("before"), after=(BEFORE,)),)),
}
SAME: dict[str, Any] = {
    "name": dict(name="other"),
    "folder": dict(folder=Path("other")),
    "cost": dict(cost=9.0),
    "progress": dict(steps=9, unit="epoch"),
    "how it goes on": dict(resume=("--resume",)),
}


def signature(**changes: Any) -> str:
    plain = dict(name="one", command=["true"], folder=Path("one"), inputs="a")
    return Job(**{**plain, **changes}).signature


def test_what_decides_the_outcome_decides_the_signature() -> None:
    found = [signature(), *(signature(**change) for change in CHANGES.values())]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("case", SAME)
def test_what_decides_nothing_keeps_it(case: str) -> None:
    assert signature(**SAME[case]) == signature()


def test_a_job_of_another_signature_has_not_been_run(tmp_path: Path) -> None:
    one = done(job(tmp_path / "one", inputs="old"))
    assert job(tmp_path / "one", inputs="new").duration() is None
    after = job(tmp_path / "one", inputs="old", after=(BEFORE,))
    assert after.duration() is None and one.duration() is not None


@pytest.mark.parametrize("text", ["", "{", '{"signature": "x", "seconds": 1}', "{}", "[]", "1"])
def test_a_broken_stamp_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / STAMP).write_text(text)
    assert job(tmp_path).duration() is None


def test_a_running_job_can_be_stopped(tmp_path: Path) -> None:
    running = job(tmp_path / "one", "import time; time.sleep(60)").start(dict(os.environ))
    running.stop()
    assert running.process.poll() == -signal.SIGTERM
    running.stop()  # it has ended
    assert 0 < running.elapsed < 30


SLEEP = "time.sleep(60)"


@pytest.mark.parametrize(
    ("first", "again", "trace"),
    [
        (dict(at=2), dict(at=2), "123"),
        (dict(at=2), dict(at=2, inputs="other"), "1212"),
        (dict(at=2), dict(at=2, resume=()), "1212"),
        (dict(at=3), dict(at=3), "123123"),
    ],
    ids=["goes on", "another job", "cannot go on", "has no step left to validate after"],
)
def test_a_job_that_was_stopped_goes_on_or_starts_afresh(
    tmp_path: Path, first: dict[str, Any], again: dict[str, Any], trace: str
) -> None:
    before, file = training(tmp_path / "one", SLEEP, **first), tmp_path / "trace"
    running = before.start(dict(os.environ))
    wait_for(file, "123"[: first["at"]])
    running.begin -= 100.0
    running.stop()
    assert before.duration() is None
    now = training(tmp_path / "one", SLEEP, **again)
    second = now.start(dict(os.environ))
    wait_for(file, trace)
    assert (second.elapsed > 100.0) == (trace == "123")  # the time of both parts
    second.stop()


def test_a_job_that_was_killed_with_its_starter_goes_on(tmp_path: Path) -> None:
    """Nobody has stopped it: all that is known is that it was begun."""
    one = training(tmp_path / "one", SLEEP)
    running = one.start(dict(os.environ))
    wait_for(tmp_path / "trace", "12")
    running.process.kill()
    running.process.wait()
    assert done(one).duration() is not None
    assert (tmp_path / "trace").read_text() == "123"


def test_a_stamp_says_with_what_the_job_was_run(tmp_path: Path) -> None:
    one = done(job(tmp_path / "one"))
    versions = one.stamp()["versions"]
    assert {"mmickd", "torch", "mmengine", "mmseg", "device", "python"} <= set(versions)
    assert "/" not in "".join(versions.values())


def test_the_environment_is_of_one_thread_and_of_this_package() -> None:
    import mmickd

    added = environment()
    assert added["OMP_NUM_THREADS"] == added["MKL_NUM_THREADS"] == "1"
    assert Path(added["PYTHONPATH"]) == Path(mmickd.__file__).parents[1]
