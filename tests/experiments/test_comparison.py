"""The rounds of a comparison and its results; nothing is trained."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from mmickd.experiments.comparison import Comparison, better_half
from mmickd.experiments.jobs import Job
from mmickd.experiments.plan import read_plan
from tests.helpers.jobs import METRIC, finish

DEMO = "configs/demo/digits_{}.py"
WEIGHT = "custom_hooks.0.losses.kd.loss_weight"


def read(folder: Path, seeds: list[int], **description: Any) -> Comparison:
    plan = {
        "title": "toy",
        "metric": METRIC,
        "teacher": {"config": DEMO.format("teacher")},
        **description,
    }
    file = folder / "plan.json"
    file.write_text(json.dumps(plan))
    return Comparison(read_plan(file), folder / "out", seeds)


def test_the_better_half_is_rounded_up_and_best_first() -> None:
    scores = {"a": [1.0, 2.0], "b": [5.0, 5.0], "c": [9.0, 0.0], "d": [4.0, 4.2], "e": [0.0, 0.0]}
    assert better_half(scores) == ["b", "c", "d"]
    assert better_half({"a": [1.0]}) == ["a"]


def test_of_equal_means_the_first_is_better_and_nan_is_worst() -> None:
    assert better_half({"a": [2.0], "b": [2.0], "c": [2.0]}) == ["a", "b"]
    nan = float("nan")
    assert better_half({"x": [nan], "a": [1.0], "b": [2.0]}) == ["b", "a"]
    assert better_half({"a": [1.0], "x": [3.0, nan], "b": [2.0], "c": [3.0]}) == ["c", "b"]
    assert better_half({"a": [-float("inf")], "b": [nan]}) == ["a"]


KD = {"config": DEMO.format("kd"), "grid": {WEIGHT: [1, 2, 3, 4, 5]}}
WEIGHTS = [[f"{WEIGHT}={w}", "custom_hooks.0.losses.picd.loss_weight=0.1"] for w in range(1, 6)]
SELECTION = dict(
    students={
        "task loss": {"config": DEMO.format("student")},
        "KD": KD,
        "IC-KD": {"config": DEMO.format("ickd"), "settings": WEIGHTS},
    },
    select={"seeds": [100, 101, 102], "options": ["val_dataloader.dataset.data_prefix=select"]},
)


def weight_of(job: Job) -> int:
    (option,) = [x for x in job.command if x.startswith(f"{WEIGHT}=")]
    return int(option.rpartition("=")[2])


def race(comparison: Comparison, score: dict[tuple[int, int], float]) -> list[list[Job]]:
    """Return all rounds; trials get results by weight and seed, KD and IC-KD alike."""
    rounds = []
    for number, jobs in enumerate(comparison.rounds()):
        rounds.append(jobs)
        for job in jobs:
            if job.folder.exists():
                continue
            if "trials" in job.folder.parts:
                seed = int(job.command[job.command.index("--seed") + 1])
                # the last value of a run counts, not its best
                finish(job, 99.0, score.get((weight_of(job), seed), 0.0))
            else:
                finish(job, 80.0 + number, 70.0 + number)
    return rounds


def test_the_better_half_of_the_settings_gets_another_trial(tmp_path: Path) -> None:
    comparison = read(tmp_path, [0, 1], **SELECTION)
    assert "Published" not in comparison.note()
    score = {(w, 100): float(w) for w in range(1, 6)}  # 5, 4, 3 go on
    score |= {(3, 101): 9.0, (4, 101): 1.0, (5, 101): 2.0}  # means 6, 2.5, 3.5: 3 and 5 do
    score |= {(3, 102): 1.0, (5, 102): 9.0}  # means 4.3 and 5.3
    rounds = race(comparison, score)
    trials = [[job for job in jobs if "trials" in job.folder.parts] for jobs in rounds]
    raced = [sorted(weight_of(job) for job in jobs) for jobs in trials]
    assert raced == [[1, 1, 2, 2, 3, 3, 4, 4, 5, 5], [3, 3, 4, 4, 5, 5], [3, 3, 5, 5], []]
    for job in (job for jobs in trials for job in jobs):
        assert "val_dataloader.dataset.data_prefix=select" in job.command
    reported = {name: [t.job for t in runs] for name, runs in comparison.reports().items()}
    assert list(reported) == ["task loss", "KD", "IC-KD"]
    for job in reported["KD"] + reported["IC-KD"]:
        assert weight_of(job) == 5
        assert "val_dataloader.dataset.data_prefix=select" not in job.command
    assert {*reported["KD"], *reported["task loss"]} < set(rounds[-1])
    text = comparison.as_markdown()
    assert "| KD | kd.loss_weight=5 | 73.00" in text and "| task loss |  | 73.00" in text


def test_the_same_plan_resumes_with_the_same_trials(tmp_path: Path) -> None:
    first = race(read(tmp_path, [0], **SELECTION), {(2, s): 9.0 for s in (100, 101, 102)})
    again = race(read(tmp_path, [0], **SELECTION), {})
    assert [[j.signature for j in jobs] for jobs in again] == [
        [j.signature for j in jobs] for jobs in first
    ]
    assert all(job.stamp() is not None for jobs in again for job in jobs)


def test_without_a_selection_every_setting_is_a_row(tmp_path: Path) -> None:
    students = {"task loss": {"config": DEMO.format("student")}, "KD": KD}
    comparison = read(tmp_path, [0], students=students, reference="KD (kd.loss_weight=3)")
    (jobs,) = comparison.rounds()
    for job in jobs:
        finish(job, 70.0)
    rows = [row.name for row in comparison.rows()]
    assert rows == ["teacher", "task loss", *(f"KD (kd.loss_weight={w})" for w in range(1, 6))]


def test_records_have_no_path_of_the_machine_and_survive_a_stop(tmp_path: Path) -> None:
    comparison = read(tmp_path, [0, 1], **SELECTION)
    rounds = comparison.rounds()
    for job in next(rounds)[:3]:  # the teacher and two trials
        finish(job, 60.0, 80.0, 70.0)
    records = comparison.records()
    assert str(tmp_path) not in json.dumps(records)
    assert [record["kind"] for record in records] == ["teacher", "trial", "trial"]
    assert {k: v for k, v in records[1].items() if k not in ("config", "options")} == dict(
        plan="toy", name="KD", setting="kd.loss_weight=1", seed=100, kind="trial", metric=METRIC,
        last=70.0, best=80.0, curve=[[1, 60.0], [2, 80.0], [3, 70.0]], unit="epoch", parts=1,
        versions=dict(torch="2"), seconds=12.0, ms_per_step=10.0,
    )  # fmt: skip
    assert records[1]["options"] == [f"{WEIGHT}=1", "val_dataloader.dataset.data_prefix=select"]


def test_a_config_has_the_same_digest_on_every_machine(tmp_path: Path) -> None:
    def digests(place: str, seeds: list[int], **changes: Any) -> list[str]:
        folder = tmp_path / place
        folder.mkdir()
        options = ["custom_hooks.0.bank.cache_dir={out}/banks"]
        student = {"config": DEMO.format("ickd"), "options": options, **changes}
        plan = read(folder, seeds, students={"KD": student})
        list(plan.rounds())
        return [run.digest for run in plan.reports()["KD"]]

    first = digests("here", [0, 1])
    assert first[0] == first[1] == digests("there", [4])[0]
    assert first[0] != digests("other", [0], options=[f"{WEIGHT}=7"])[0]


def test_a_paired_teacher_has_the_seed_of_its_student(tmp_path: Path) -> None:
    teacher = {"config": DEMO.format("teacher"), "paired": True}
    comparison = read(
        tmp_path, [3, 4], students={"KD": {"config": DEMO.format("kd")}}, teacher=teacher
    )
    (jobs,) = comparison.rounds()
    assert len(jobs) == 4
    for seed, student in zip((3, 4), comparison.reports()["KD"], strict=True):
        (job,) = student.job.after
        assert job.folder.name == f"teacher_seed{seed}"
        assert job.command[job.command.index("--seed") + 1] == str(seed)
        checkpoint = job.folder / f"{job.unit}_{job.steps}.pth"
        assert student.job.full_command()[-1] == f"custom_hooks.0.teacher.checkpoint={checkpoint}"
    for number, job in enumerate(jobs):
        finish(job, 70.0 + number)
    assert [len(row.values) for row in comparison.rows()] == [2, 2]
    assert "teacher and student" in comparison.note()


def test_the_note_has_how_settings_were_chosen(tmp_path: Path) -> None:
    note = read(tmp_path, [0], **SELECTION).note()
    assert "one of 5 " in note and "seeds 100, 101, 102, on other data" in note
    same = dict(SELECTION, select={"seeds": [100], "options": ["train_cfg.val_interval=2"]})
    assert "seed 100, on the validation data of this" in read(tmp_path, [0], **same).note()
    students = {"KD": {"config": DEMO.format("kd")}}
    assert "settings" not in read(tmp_path, [0], students=students).note()


def test_the_note_names_the_source_of_each_published_number(tmp_path: Path) -> None:
    published = {"value": 73.3, "source": "arXiv 1"}
    students = {"KD": {"config": DEMO.format("kd"), "published": published}}
    teacher = {"config": DEMO.format("teacher"), "published": 76.05}
    note = read(tmp_path, [0], students=students, teacher=teacher).note()
    assert "(teacher: no source given; KD: arXiv 1)" in note


def test_a_run_without_the_metric_takes_its_row_out_and_a_misspelt_metric_is_an_error(
    tmp_path: Path,
) -> None:
    names = dict(KD="kd", IC="ickd")
    students = {name: {"config": DEMO.format(config)} for name, config in names.items()}
    comparison = read(tmp_path, [0, 1], students=students)
    (jobs,) = comparison.rounds()
    finish(jobs[0])  # the teacher: validated, without the metric
    with pytest.raises(ValueError, match=f"no '{METRIC}' in the log"):
        comparison.records()
    for number, job in enumerate(jobs[1:]):
        finish(job, *([70.0 + number**2] if number else []))
    rows = {row.name: row for row in comparison.rows()}
    missing = [name for name, row in rows.items() if not math.isfinite(row.last.mean)]
    assert len(missing) == 2 and all(name in comparison.missing() for name in missing)
    assert sum(entry["curve"] == [] for entry in comparison.records()) == 2


def test_a_run_that_was_trained_again_is_reported_anew(tmp_path: Path) -> None:
    comparison = read(tmp_path, [0], students={"KD": {"config": DEMO.format("kd")}})
    (jobs,) = comparison.rounds()
    for job in jobs:
        finish(job, 50.0)
    assert [entry["last"] for entry in comparison.records()] == [50.0, 50.0]
    shutil.rmtree(jobs[1].folder)
    finish(jobs[1], 60.0)
    assert [entry["last"] for entry in comparison.records()] == [50.0, 60.0]


def test_seeds_that_choose_do_not_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[100\].*'select'"):
        read(tmp_path, [99, 100], **SELECTION)


@pytest.mark.slow
def test_shipped_comparisons_can_be_read(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    files = sorted(root.glob("results/plans/*.json"))
    assert len(files) >= 4
    for file in files:
        comparison = Comparison(read_plan(file), tmp_path / file.stem, [0])
        assert next(comparison.rounds())
