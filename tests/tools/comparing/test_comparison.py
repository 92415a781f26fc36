"""What a comparison's description becomes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

from comparing.comparison import read_comparison

DEMO = "configs/demo/digits_{}.py"


def test_only_students_that_read_a_checkpoint_get_the_teachers(tmp_path: Path) -> None:
    methods = ("student", "kd", "self", "online")
    description = {
        "metric": "accuracy/top1",
        "reference": "kd",
        "teacher": {"config": DEMO.format("teacher"), "seed": 100},
        "students": {name: {"config": DEMO.format(name)} for name in methods},
    }
    file = tmp_path / "comparison.json"
    file.write_text(json.dumps(description))
    comparison = read_comparison(file, tmp_path / "out", [3, 4], [])
    assert comparison.teacher.command[3:5] == ["--seed", "100"]
    for name, jobs in comparison.students.items():
        assert [job.command[4] for job in jobs] == ["3", "4"]
        for job in jobs:
            given = [x for x in job.command if "teacher.checkpoint=" in x]
            assert len(given) == (name == "kd")


def test_a_student_that_was_its_own_teacher_gets_the_earlier_run(tmp_path: Path) -> None:
    description = {
        "metric": "accuracy/top1",
        "reference": "Tf-KD",
        "teacher": {"config": DEMO.format("student")},
        "students": {"Tf-KD": {"config": "configs/small/digits_tfkd.py"}},
    }
    file = tmp_path / "comparison.json"
    file.write_text(json.dumps(description))
    comparison = read_comparison(file, tmp_path / "out", [0], [])
    wanted = tmp_path / "out" / "teacher" / "epoch_60.pth"
    command = comparison.students["Tf-KD"][0].command
    assert command[-1] == f"custom_hooks.0.teacher.checkpoint={wanted}"


def test_shipped_comparisons_can_be_read(tmp_path: Path) -> None:
    files = sorted((Path(__file__).parents[3] / "benchmarks").glob("*.json"))
    assert len(files) >= 4
    for file in files:
        comparison = read_comparison(file, tmp_path / file.stem, [0], [])
        assert comparison.reference in comparison.students
