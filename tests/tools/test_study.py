"""The study, a few steps of each run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from study import parse_args

ROOT = Path(__file__).parents[2]
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


def study(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "study.py"), *args],
        capture_output=True, text=True, timeout=800,
    )  # fmt: skip


STUDENTS = [
    "student, task loss",
    "student, label smoothing",
    "KD",
    "DIST",
    "IC-KD",
    "IC-KD, random rows",
]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_quick_study_runs_and_resumes(tmp_path: Path) -> None:
    """The task that the demo lacks; the demo's own test trains the others."""
    args = ("--quick", "--seeds", "1", "--tasks", "wrong_labels", "--out", str(tmp_path))
    first = study(*args)
    assert first.returncode == 0, first.stdout + first.stderr
    (rows,) = json.loads((tmp_path / "results.json").read_text()).values()
    assert [row["name"] for row in rows] == ["teacher", *STUDENTS]
    assert [len(row["values"]) for row in rows] == [1] * len(rows)
    pictures = tmp_path / "wrong_labels" / "pictures"
    for name in ("retrieval", "predictions"):
        assert (pictures / f"{name}.png").stat().st_size > 5000
    assert str(pictures / "retrieval.png") in first.stdout
    again = study(*args)
    jobs = len(["data", "teacher", *STUDENTS, "pictures"])
    assert again.returncode == 0 and again.stdout.count("skipped") == jobs


@pytest.mark.parametrize("words", [["--seeds", "0"], ["--tasks", "letters"]])
def test_wrong_arguments_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        parse_args(words)
    assert refusal.value.code == 2
