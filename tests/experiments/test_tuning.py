"""The rounds of a tuning and its results; nothing is trained."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmickd.commands.arguments import read_config
from mmickd.experiments.jobs import Job
from mmickd.experiments.methods import Method, read_methods
from mmickd.experiments.tuning import Tuning
from tests.helpers.jobs import METRIC, finish

CONFIG = "configs/demo/digits_ickd.py"
SELECT = "val_dataloader.dataset.data_prefix=select"


@pytest.fixture(autouse=True)
def optuna() -> None:
    pytest.importorskip("optuna")


def tuning(out: Path, **changes: Any) -> Tuning:
    methods = read_methods(read_config(CONFIG), (), (), out)
    return Tuning(methods, METRIC, out, **{"select": [SELECT], **changes})


def of_kd(job: Job) -> bool:
    return job.folder.name.startswith("kd_alone")


def test_each_method_gets_as_many_trials_of_the_same_seeds(tmp_path: Path) -> None:
    jobs: list[Job] = []
    rounds = []
    for round_ in tuning(tmp_path, seeds=2).rounds(trials=3, at_a_time=2):
        rounds.append(len(round_))
        jobs += round_
        for job in round_:
            finish(job, 99.0, 80.0)  # the last value counts
    assert rounds == [8, 4]  # two trials of two methods, of two seeds
    assert sum(map(of_kd, jobs)) == 6
    seeds = [job.command[job.command.index("--seed") + 1] for job in jobs]
    assert sorted(seeds) == ["100"] * 6 + ["101"] * 6  # none of a report's
    assert all(SELECT in job.command and not job.after for job in jobs)
    configs = {job.command[job.command.index("mmickd.commands.train") + 1] for job in jobs}
    assert configs == {CONFIG, str(tmp_path / "kd_alone.py")}


def test_the_best_is_shown_with_its_command(tmp_path: Path) -> None:
    study = tuning(tmp_path)
    values = {False: [70.0, 60.0, 75.0], True: [50.0, 55.0, 52.0]}
    for jobs in study.rounds(3, 3):
        for job in jobs:
            finish(job, values[of_kd(job)].pop(0))
    method, alone = study.rows()
    assert [method[key] for key in ("as_is", "best", "values")] == [70.0, 2, [75.0]]
    assert [alone[key] for key in ("as_is", "best", "values")] == [50.0, 1, [55.0]]
    table = study.as_markdown()
    assert "| kd + picd + nicd | 3 | 0 | 70.00 | 75.00 | 2 |" in table
    assert "| kd alone | 3 | 0 | 50.00 | 55.00 | 1 |" in table
    best = study.to_json()["trials"][2]
    assert best["value"] == 75.0
    commands = study.commands()
    assert f"mmickd train {CONFIG} --cfg-options {' '.join(best['options'])}\n" in commands
    assert f"mmickd train {tmp_path / 'kd_alone.py'} --cfg-options custom_hooks.0" in commands
    assert "3 trials" in study.note() and "--select-options: report" in study.note()


def test_finished_trials_are_kept_and_failed_ones_count(tmp_path: Path) -> None:
    first = tuning(tmp_path)
    assert not first.has_results()
    rounds = first.rounds(2, 1)
    for job in next(rounds):
        if of_kd(job):  # the other one failed
            finish(job, 50.0)
    second = next(rounds)
    assert first.has_results()
    again = tuning(tmp_path)  # as after a kill
    (jobs,) = again.rounds(2, 1)
    assert [job.signature for job in jobs] == [job.signature for job in second]
    method, alone = again.rows()
    keys = ("trials", "failed", "best", "command")
    assert [method[key] for key in keys] == [2, 2, None, ""]
    assert [alone[key] for key in keys[:3]] == [2, 1, 0]
    assert "| kd + picd + nicd | 2 | 2 |  |  |  |" in again.as_markdown()
    assert [record["last"] for record in again.records()] == [50.0]


@pytest.mark.parametrize("change", ["folders gone", "another interpreter"])
def test_finished_trials_need_no_folder_and_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    first = tuning(tmp_path, seeds=2)
    for jobs in first.rounds(2, 1):
        for job in jobs:
            finish(job, 50.0 + job.folder.name.endswith("101"))
    results, records = first.to_json(), first.records()
    assert results["rows"][0]["values"] == [50.0, 51.0] and len(records) == 8
    if change == "folders gone":
        shutil.rmtree(tmp_path / "trials")
    else:
        monkeypatch.setattr(sys, "executable", "/another/venv/bin/python")
    again = tuning(tmp_path, seeds=2)
    assert list(again.rounds(2, 1)) == []
    assert again.to_json() == results and again.records() == records


def test_a_machine_with_another_home_and_a_gpu_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.py"
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict({"train_dataloader.dataset.data_root": "~/data"})
    cfg.dump(config)
    out = tmp_path / "out"

    def methods() -> list[Method]:
        return read_methods(read_config(str(config)), (), (), out)

    Tuning(methods(), METRIC, out)
    alone = (out / "kd_alone.py").read_text()
    monkeypatch.setenv("HOME", "/another/home")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    Tuning(methods(), METRIC, out)  # not refused as a tuning of something else
    assert (out / "kd_alone.py").read_text() == alone


def test_a_run_without_the_metric_is_an_error(tmp_path: Path) -> None:
    rounds = tuning(tmp_path).rounds(1, 1)
    for job in next(rounds):
        finish(job)
    with pytest.raises(ValueError, match=f"'{METRIC}'.*delete that folder"):
        next(rounds)
