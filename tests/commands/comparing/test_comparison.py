"""What a comparison's description becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmickd.commands.comparing.comparison import read_comparison

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
    command = comparison.teacher.command
    assert command[command.index("--seed") + 1] == "100"
    for name, jobs in comparison.students.items():
        assert [job.command[job.command.index("--seed") + 1] for job in jobs] == ["3", "4"]
        for job in jobs:
            given = [x for x in job.command if "teacher.checkpoint=" in x]
            assert len(given) == (name == "kd")
            # who needs no trained teacher does not wait for one
            assert job.after == ((comparison.teacher,) if name == "kd" else ())


def test_data_are_made_first_and_places_are_filled_in(tmp_path: Path) -> None:
    file = Path(__file__).parents[3] / "configs" / "demo" / "digits.json"
    plan = read_comparison(file, tmp_path, [0], quick=True)
    assert plan.jobs()[0] is plan.data
    assert plan.data.command[-2:] == ["--out", str(tmp_path / "data" / "set")]
    for job in plan.jobs()[1:]:
        assert plan.data in job.after
        options = job.command[job.command.index("--cfg-options") + 1 :]
        assert f"train_dataloader.dataset.data_root={tmp_path / 'data' / 'set'}" in options
        assert "train_cfg.max_epochs=2" in options and job.steps == 2
        assert not any("{" in option for option in options)
    (ickd,) = plan.students["IC-KD"]
    assert f"custom_hooks.0.bank.cache_dir={tmp_path}/banks" in ickd.command


def test_data_below_the_working_directory_have_the_same_path_in_every_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path(__file__).parents[3] / "configs" / "demo" / "scenes.json"
    plan = read_comparison(file, tmp_path / "out", [0])
    for job in plan.jobs()[1:]:
        assert "train_dataloader.dataset.data_root=out/data/set" in job.command


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
