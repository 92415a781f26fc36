"""`tools/compare.py`: one teacher, several students, paired seeds, one table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmickd.experiments.launch import quickest_launch
from mmickd.experiments.plan import read_plan
from mmickd.experiments.runs import RunLayout
from mmickd.experiments.scheduler import RunningJob, Scheduler
from mmickd.experiments.training_log import count_starts, last_checkpoint, read_scalars, validations
from tests.helpers.jobs import is_running, wait_until
from tests.helpers.tiny import classifier_config, make_class_folders, with_hook

ROOT = Path(__file__).resolve().parents[2]


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "compare.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plan of a comparison of tiny configs, as a file."""
    root = tmp_path_factory.mktemp("compare")
    data = make_class_folders(root / "data")
    teacher = classifier_config(data, root / "unused", width=16, iters=2)
    student = classifier_config(data, root / "unused", iters=2)
    for cfg in (teacher, student):
        cfg.train_cfg.val_interval = 2
    teacher.dump(root / "teacher.py")
    student.dump(root / "student.py")
    hooked = with_hook(student, str(root / "teacher.py"), root / "to_be_replaced.pth")
    hooked.dump(root / "ickd.py")
    hooked.custom_hooks[0].losses = dict(picd=None, nicd=None)
    hooked.dump(root / "kd.py")
    entry = {name: {"config": str(root / f"{name}.py")} for name in ("student", "kd", "ickd")}
    description = {
        "title": "toy",
        "metric": "accuracy/top1",
        "teacher": {"config": str(root / "teacher.py")},
        "students": {
            "task loss": entry["student"],
            "KD": {**entry["kd"], "published": {"value": 76, "source": "a paper", "epoch": "best"}},
            "IC-KD": {**entry["ickd"], "options": ["custom_hooks.0.losses.kd.loss_weight=2.0"]},
        },
    }
    file = root / "toy.json"
    file.write_text(json.dumps(description))
    return file


@pytest.mark.slow
def test_all_runs_are_trained_and_one_table_is_printed(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copy = tmp_path / "copy.json"
    first = compare(str(plan), "--seeds", "1", "--out", str(out), "--json", str(copy))
    assert first.returncode == 0, first.stdout + first.stderr
    assert copy.read_text() == (out / "results.json").read_text()
    rows = {row["name"]: row for row in json.loads((out / "results.json").read_text())}
    assert list(rows) == ["teacher", "task loss", "KD", "IC-KD"]
    assert rows["KD"]["to"] == {}
    assert rows["KD"]["published"] == {"value": 76.0, "source": "a paper", "epoch": "best"}
    difference = rows["IC-KD"]["last"]["mean"] - rows["KD"]["last"]["mean"]
    assert rows["IC-KD"]["to"]["KD"]["mean"] == pytest.approx(difference)
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(record["name"], record["kind"]) for record in records] == [
        ("teacher", "teacher"), *((name, "report") for name in list(rows)[1:])
    ]  # fmt: skip
    assert [record["last"] for record in records] == [row["values"][0] for row in rows.values()]
    for picture in ("rows.png", "curves.png"):
        assert (out / picture).stat().st_size > 5000
    assert (out / "results.md").read_text().strip() in first.stdout
    dumped = next((out / "ic_kd_seed0").glob("*.py")).read_text()
    assert "loss_weight=2.0" in dumped and str(out / "teacher" / "iter_2.pth") in dumped

    again = compare(str(plan), "--seeds", "1", "--out", str(out))
    assert again.returncode == 0 and again.stdout.count("skipped") == 4


def test_a_run_that_was_stopped_resumes_from_its_checkpoint(plan: Path, tmp_path: Path) -> None:
    options = ["train_cfg.max_iters=20", "train_cfg.val_interval=5"]
    options += ["default_hooks.checkpoint.interval=5"]
    job = RunLayout(read_plan(plan), tmp_path / "out", [0], options).teacher(0).job
    launch = quickest_launch(tmp_path)
    running = RunningJob(job, launch)
    named = job.folder / "last_checkpoint"
    has_name = lambda: named.is_file() and named.read_text()  # noqa: E731
    wait_until(lambda: has_name() or running.process.poll() is not None, "a checkpoint")
    running.stop()
    reached = int(last_checkpoint(job.folder).stem.removeprefix("iter_"))
    assert 0 < reached < 20

    time.sleep(1)  # mmengine names the folder of each part by the second
    Scheduler(1, launch, report_line=lambda line: None).run([job])
    newest = sorted(job.folder.glob("*/vis_data/scalars.json"))[-1].read_text()
    assert json.loads(newest.splitlines()[0])["iter"] == reached + 1
    assert count_starts(job.folder) == 2
    validated = {step for step, _ in validations(job.folder, "accuracy/top1")}
    # a stop between a checkpoint and its validation loses this validation
    assert validated | {reached} == {5, 10, 15, 20}
    trained = [line["iter"] for line in read_scalars(job.folder) if "loss" in line]
    assert trained == list(range(1, 21))


SLOW = """
import os, pathlib, time
pathlib.Path(__file__).with_name("pid").write_text(f"{os.getpid()}.")
time.sleep(300)
"""


@pytest.fixture
def slow(plan: Path, tmp_path: Path) -> Path:
    """Plan of a comparison whose first job does not end."""
    (tmp_path / "slow.py").write_text(SLOW)
    data = {"converter": str(tmp_path / "slow.py")}
    file = tmp_path / "slow.json"
    file.write_text(json.dumps({**json.loads(plan.read_text()), "data": data}))
    return file


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "stopped")],
)
def test_a_signal_stops_running_jobs(slow: Path, number: int, code: int, word: str) -> None:
    command = [sys.executable, str(ROOT / "tools" / "compare.py"), str(slow)]
    command += ["--out", str(slow.parent / "out")]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # if a shell ignores it
    ) as process:
        file = slow.parent / "pid"
        wait_until(lambda: file.is_file() and file.read_text().endswith("."), "a job began")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    (line,) = errors.decode().strip().splitlines()
    assert line.startswith(word)
    assert not is_running(int(file.read_text()[:-1]))


def test_the_time_limit_stops_running_jobs(slow: Path) -> None:
    done = compare(str(slow), "--out", str(slow.parent / "out"), "--minutes", "0.05")
    assert done.returncode == 3, done.stderr
    assert "time is up" in done.stdout
    file = slow.parent / "pid"
    assert not file.exists() or not is_running(int(file.read_text()[:-1]))


def test_a_wrong_plan_is_refused_with_its_key(plan: Path, tmp_path: Path) -> None:
    description = json.loads(plan.read_text())
    description["studnets"] = description.pop("students")
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(description))
    done = compare(str(wrong), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "students, studnets" in done.stderr and "Traceback" not in done.stderr
