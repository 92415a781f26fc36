"""The demo: a few steps of each run, its table and its pages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from _demo_runs import compare_plans, read_task, training_jobs
from demo import STUDENTS, TASKS, as_table, parse_args

from mmickd.experiments.comparison import Comparison
from mmickd.experiments.plan import select_students

pytest.importorskip("sklearn")
DEMO = Path(__file__).parents[2] / "tools" / "demo.py"
ROWS = ["teacher", *STUDENTS]


def run_demo(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO), *args],
        capture_output=True, text=True, timeout=800,
    )  # fmt: skip


def comparisons_of_demo(out: Path) -> dict[str, Comparison]:
    plans = {task: select_students(read_task(task), STUDENTS) for task in TASKS}
    return compare_plans(plans, [0], parse_args(["--out", str(out)]))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_ends_with_its_pages_and_resumes(tmp_path: Path) -> None:
    first = run_demo("--quick", "--out", str(tmp_path))
    assert first.returncode == 0, first.stdout + first.stderr
    results = json.loads((tmp_path / "first_look" / "results.json").read_text())
    for task in TASKS:
        assert [row["name"] for row in results[task]] == ROWS
        assert [len(row["values"]) for row in results[task]] == [1] * len(ROWS)
    lines = first.stdout.splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")] == [
        cell for task in TASKS for cell in (task, "---", *ROWS)
    ]
    pages = [Path(line.removeprefix("page").strip()) for line in lines[-len(TASKS) :]]
    assert pages == [tmp_path / "first_look" / task / "index.html" for task in TASKS]
    for page in pages:
        assert "<html" in page.read_text() and page.stat().st_size > 100_000
    again = run_demo("--quick", "--out", str(tmp_path))
    jobs = len(TASKS) * len(["data", *ROWS, "gallery"])
    assert again.returncode == 0 and again.stdout.count("skipped") == jobs
    assert again.stdout.splitlines()[-len(TASKS) :] == lines[-len(TASKS) :]


def test_the_study_reuses_all_runs_of_the_demo(tmp_path: Path) -> None:
    demo = comparisons_of_demo(tmp_path)
    study = compare_plans(
        {t: read_task(t) for t in TASKS}, range(3), parse_args(["--out", str(tmp_path)])
    )
    jobs = {job.folder: job.signature for job in training_jobs(study.values())}
    runs = training_jobs(demo.values())
    assert len(runs) == len(TASKS) * len(["data", *ROWS])
    assert [jobs[job.folder] for job in runs] == [job.signature for job in runs]


def test_a_job_comes_after_the_jobs_that_it_needs(tmp_path: Path) -> None:
    jobs = training_jobs(comparisons_of_demo(tmp_path).values())
    for place, job in enumerate(jobs):
        assert set(job.after) <= set(jobs[:place])
    students = [job.cost for job in jobs[2 * len(TASKS) :]]
    assert students == sorted(students, reverse=True)


def test_the_table_has_differences_to_kd(tmp_path: Path) -> None:
    comparison = comparisons_of_demo(tmp_path)["digits"]
    accuracies = dict(zip(ROWS, (97.0, 90.5, 94.0, 95.25), strict=True))
    runs = {run.entry.name: run for row in comparison.reports().values() for run in row}
    runs["teacher"] = comparison.teachers()[0]
    for name, accuracy in accuracies.items():
        folder = runs[name].job.folder
        scalars = folder / "20260101_000000" / "vis_data" / "scalars.json"
        scalars.parent.mkdir(parents=True)
        scalars.write_text(json.dumps({"accuracy/top1": accuracy, "step": 80}) + "\n")
    assert as_table(comparison).splitlines()[2:] == [
        "| teacher | 97.00 |  |",
        "| student, task loss | 90.50 | -3.50 |",
        "| KD | 94.00 |  |",
        "| IC-KD | 95.25 | +1.25 |",
    ]


@pytest.mark.parametrize("words", [["--workers", "0"], ["--seeds", "3"]])
def test_wrong_arguments_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        parse_args(words)
    assert refusal.value.code == 2
