"""The runs of a plan: their commands, folders and order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmickd.experiments.jobs import Job
from mmickd.experiments.plan import read_plan
from mmickd.experiments.runs import RunLayout

ROOT = Path(__file__).parents[2]
DEMO = "configs/demo/digits_{}.py"


def laid_out(file: Path, out: Path, seeds: list[int], quick: bool = False) -> RunLayout:
    return RunLayout(read_plan(file), out, seeds, quick=quick)


def write(folder: Path, students: dict[str, Any], **description: Any) -> Path:
    file = folder / "plan.json"
    teacher = {"config": DEMO.format("teacher")}
    plan = {"metric": "accuracy/top1", "teacher": teacher, "students": students, **description}
    file.write_text(json.dumps({"reference": next(iter(students)), **plan}))
    return file


def jobs_of(file: Path, out: Path, seeds: list[int], quick: bool = False) -> dict[str, list[Job]]:
    """Return the jobs of every student's reported runs."""
    layout = laid_out(file, out, seeds, quick)
    students = read_plan(file).students
    return {s.name: [layout.report(s, s.settings[0], seed).job for seed in seeds] for s in students}


def test_only_students_that_read_a_checkpoint_get_the_teachers(tmp_path: Path) -> None:
    methods = ("kd", "student", "self", "online")
    students = {name: {"config": DEMO.format(name)} for name in methods}
    file = write(tmp_path, students, teacher={"config": DEMO.format("teacher"), "seed": 100})
    layout = laid_out(file, tmp_path / "out", [3, 4])
    teacher = layout.teacher(3).job
    assert layout.teacher(4).job is teacher
    assert teacher.command[teacher.command.index("--seed") + 1] == "100"
    for name, jobs in jobs_of(file, tmp_path / "out", [3, 4]).items():
        assert [job.command[job.command.index("--seed") + 1] for job in jobs] == ["3", "4"]
        for job in jobs:
            options = [x for x in job.command if "teacher.checkpoint=" in x]
            assert len(options) == (name == "kd")
            # a student without a trained teacher does not wait for one
            assert [b.signature for b in job.after] == [teacher.signature] * (name == "kd")


def test_data_are_made_first_and_placeholders_are_replaced(tmp_path: Path) -> None:
    file = ROOT / "configs" / "demo" / "digits.json"
    layout = laid_out(file, tmp_path, [0], quick=True)
    assert layout.data.command[-2:] == ["--out", str(tmp_path / "data" / "set")]
    jobs = jobs_of(file, tmp_path, [0], quick=True)
    for (job,) in [*jobs.values(), [layout.teacher(0).job]]:
        assert job.after[0].signature == layout.data.signature
        options = job.command[job.command.index("--cfg-options") + 1 :]
        assert f"train_dataloader.dataset.data_root={tmp_path / 'data' / 'set'}" in options
        assert "train_cfg.max_epochs=2" in options and job.steps == 2
        assert not any("{" in option for option in options if "{teacher}" not in option)
        assert str(tmp_path) not in job.inputs
    assert f"custom_hooks.0.bank.cache_dir={tmp_path}/banks" in jobs["IC-KD"][0].command


def test_data_below_the_working_directory_have_the_same_path_in_every_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = ROOT / "configs" / "demo" / "scenes.json"
    for (job,) in jobs_of(file, tmp_path / "out", [0]).values():
        assert "train_dataloader.dataset.data_root=out/data/set" in job.command


def test_a_student_that_was_its_own_teacher_gets_the_earlier_run(tmp_path: Path) -> None:
    students = {"Tf-KD": {"config": "configs/small/digits_tfkd.py"}}
    file = write(tmp_path, students, teacher={"config": DEMO.format("student")})
    (job,) = jobs_of(file, tmp_path / "out", [0])["Tf-KD"]
    expected = tmp_path / "out" / "teacher" / "epoch_60.pth"
    assert job.full_command()[-1] == f"custom_hooks.0.teacher.checkpoint={expected}"


def test_the_teachers_last_checkpoint_is_found_whatever_it_is_called(tmp_path: Path) -> None:
    file = write(tmp_path, {"KD": {"config": DEMO.format("kd")}})
    (job,) = jobs_of(file, tmp_path / "out", [0])["KD"]
    folder = tmp_path / "out" / "teacher"
    folder.mkdir(parents=True)
    (folder / "last_checkpoint").write_text(str(tmp_path / "elsewhere" / "stopped_early_7.pth"))
    expected = tmp_path / "elsewhere" / "stopped_early_7.pth"
    assert job.full_command()[-1] == f"custom_hooks.0.teacher.checkpoint={expected}"
    (folder / expected.name).touch()  # the folder of all runs was moved
    assert job.full_command()[-1].endswith(str(folder / expected.name))


HOOK = "dict(type='mmickd.ICKDHook', teacher=dict(cfg='x.py', checkpoint='own.pth'))"


def hook_config(folder: Path, before: str = "") -> str:
    file = folder / f"hook{len(before)}.py"
    file.write_text(
        "train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)\n"
        f"custom_hooks = [{before}{HOOK}]\n"
    )
    return str(file)


def test_the_plans_teacher_reaches_the_hook_at_any_place(tmp_path: Path) -> None:
    students = {"EMA": {"config": hook_config(tmp_path, "dict(type='EMAHook'), ")}}
    (job,) = jobs_of(write(tmp_path, students), tmp_path / "out", [0])["EMA"]
    assert job.command[-1] == "custom_hooks.1.teacher.checkpoint={teacher}"
    assert job.teacher is job.after[-1]


@pytest.mark.parametrize(
    "option",
    [
        "custom_hooks.0.teacher.checkpoint=other.pth",
        "custom_hooks.0.teacher={'cfg': 'y.py', 'checkpoint': 'other.pth'}",
    ],
)
def test_a_checkpoint_that_an_option_names_is_kept(tmp_path: Path, option: str) -> None:
    students = {"KD": {"config": hook_config(tmp_path), "options": [option]}}
    (job,) = jobs_of(write(tmp_path, students), tmp_path / "out", [0])["KD"]
    assert job.command[-1] == option and job.teacher is None and not job.after


def test_a_run_is_recognised_in_another_folder_by_another_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ROOT / "configs" / "demo" / "digits.json"

    def signatures(out: str, seed: int = 0, quick: bool = True) -> list[str]:
        jobs = jobs_of(file, tmp_path / out, [seed], quick)
        return [job.signature for (job,) in jobs.values()]

    first = signatures("here")
    monkeypatch.setattr("sys.executable", "/another/bin/python")
    assert signatures("there") == first
    for other in (signatures("here", seed=1), signatures("here", quick=False)):
        assert not set(other) & set(first)
    monkeypatch.setattr("mmickd.experiments.runs.__version__", "9.9")
    assert not set(signatures("here")) & set(first)


def test_two_students_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    students = {name: {"config": DEMO.format("student")} for name in ("KD 1.0", "KD 1_0")}
    with pytest.raises(ValueError, match=r"'KD 1\.0' and 'KD 1_0'.*kd_1_0"):
        jobs_of(write(tmp_path, students), tmp_path / "out", [0])


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("custom_hooks.0.losses.kd.loss_weight.value=1.0", "cannot inherit from base"),
        ("custom_hooks.7.losses.kd.loss_weight=1.0", "exceeds the length of list"),
    ],
)
def test_an_option_that_does_not_fit_is_reported(tmp_path: Path, option: str, why: str) -> None:
    students = {"KD": {"config": DEMO.format("kd"), "options": [option]}}
    with pytest.raises(ValueError, match=f"digits_kd.py: .*{why}"):
        jobs_of(write(tmp_path, students), tmp_path / "out", [0])


def test_the_job_of_a_training_has_its_length_and_resumes(tmp_path: Path) -> None:
    students = {"KD": {"config": DEMO.format("kd"), "options": ["train_cfg.max_epochs=7"]}}
    (job,) = jobs_of(write(tmp_path, students), tmp_path / "out", [0])["KD"]
    assert (job.steps, job.unit, job.resume) == (7, "epoch", ("--resume",))
