"""The study, a few steps of each run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


def study(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "study.py"), *args],
        capture_output=True, text=True, timeout=800,
    )  # fmt: skip


STUDENTS = {
    "digits": [
        "student, task loss",
        "student, label smoothing",
        "KD",
        "IC-KD",
        "IC-KD, self",
        "IC-KD, online",
    ],
    "wrong_labels": [
        "student, task loss",
        "student, label smoothing",
        "KD",
        "DIST",
        "IC-KD",
        "IC-KD, random rows",
    ],
    "scenes": ["student, task loss", "KD", "CWD", "NICD", "NICD, random rows", "IC-KD"],
}


def finished(out: Path, seeds: int) -> dict:
    results = json.loads((out / "results.json").read_text())
    for task, rows in results.items():
        assert [row["name"] for row in rows] == ["teacher", *STUDENTS[task]]
        assert [len(row["values"]) for row in rows] == [1, *[seeds] * len(STUDENTS[task])]
        for name in ("retrieval", "predictions"):
            assert (out / task / "pictures" / f"{name}.png").stat().st_size > 5000
    return results


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("task", list(STUDENTS))
def test_quick_study_runs_and_resumes(task: str, tmp_path: Path) -> None:
    args = ("--quick", "--seeds", "1", "--tasks", task, "--out", str(tmp_path))
    first = study(*args)
    assert first.returncode == 0, first.stdout + first.stderr
    finished(tmp_path, seeds=1)
    assert str(tmp_path / task / "pictures" / "retrieval.png") in first.stdout
    again = study(*args)
    jobs = len(["data", "teacher", *STUDENTS[task], "pictures"])
    assert again.returncode == 0 and again.stdout.count("skipped") == jobs


def test_wrong_arguments_are_refused() -> None:
    assert study("--seeds", "0").returncode == 2
    assert study("--tasks", "letters").returncode == 2
