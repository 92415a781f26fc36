"""Python configs of mmengine, which import classes; the configs that their runs dump run too."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.helpers import toys
from tests.helpers.commands import ROOT, CommandResult, command, config_folder, logged_losses

PARTS = """
from mmpretrain.evaluation import Accuracy

from mmickd import ICKDHook, NICDLoss, OfflineTeacher, TorchRetriever

class UserHook(ICKDHook): pass
class UserTeacher(OfflineTeacher): pass
class UserRetriever(TorchRetriever): pass
class UserLoss(NICDLoss): pass
class UserMetric(Accuracy): pass
"""
CONFIG = """
from mmengine.config import read_base
with read_base():
    from .student import *
from {home} import {hook}, {teacher}, {retriever}, {loss}
from {evaluators} import {metric}

val_evaluator = dict(type={metric}, topk=(1,))
custom_hooks = [
    dict(
        type={hook},
        teacher=dict(type={teacher}, cfg="teacher.py", checkpoint="teacher.pth"),
        retriever=dict(type={retriever}),
        bank=dict(cache_dir="banks"),
        losses=dict(nicd=dict(type={loss}, loss_weight=1.0)),
    )
]
"""
NAMES = dict(
    mmickd=dict(
        home="mmickd", hook="ICKDHook", teacher="OfflineTeacher", retriever="TorchRetriever",
        loss="NICDLoss", evaluators="mmpretrain.evaluation", metric="Accuracy",
    ),
    user=dict(
        home="user_parts", hook="UserHook", teacher="UserTeacher", retriever="UserRetriever",
        loss="UserLoss", evaluators="user_parts", metric="UserMetric",
    ),
)  # fmt: skip
"""Names that a config imports: those of mmickd, and classes of a user."""


def make_folder(names: str) -> Path:
    """Return a folder with ``run.py``, which imports classes, and its files."""
    toy = toys.classifier()
    student = toy.student(train_cfg__max_iters=2, train_cfg__val_interval=2)
    student.pop("work_dir")
    folder = config_folder(toy, student=student)
    (folder / "user_parts.py").write_text(PARTS)
    (folder / "run.py").write_text(CONFIG.format(**NAMES[names]))
    return folder


def mmickd(folder: Path, *words: str) -> CommandResult:
    env = {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return command(sys.executable, "-m", "mmickd", *words, cwd=folder, **env)


@pytest.mark.parametrize("names", NAMES)
def test_the_dumped_config_trains_the_same_run(names: str) -> None:
    folder = make_folder(names)
    weight = "custom_hooks.0.losses.nicd.loss_weight=2.0"
    mmickd(folder, "train", "run.py", "--work-dir", "one", "--cfg-options", weight).ok()
    mmickd(folder, "train", "one/run.py", "--work-dir", "two").ok()
    mmickd(folder, "train", "run.py", "--work-dir", "other").ok()
    first, second, other = (
        [line["loss"] for line in logged_losses(folder / name)] for name in ("one", "two", "other")
    )
    assert first == second != other
    mmickd(folder, "bank", "build", "two/run.py").ok()


@pytest.mark.parametrize("names", NAMES)
def test_tune_and_compare_accept_it(names: str) -> None:
    pytest.importorskip("optuna")
    folder = make_folder(names)
    words = ["--trials", "1", "--metric", "accuracy/top1", "--out", "tuned", "--json", "out.json"]
    mmickd(folder, "tune", "run.py", *words).ok()
    assert len(list(folder.glob("tuned/trials/*/done.json"))) == 2
    plan = {
        "title": "classes",
        "metric": "accuracy/top1",
        "teacher": {"config": "teacher.py"},
        "students": {name: {"config": "run.py"} for name in ("KD", "IC-KD")},
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    table = mmickd(folder, "compare", "plan.json", "--seeds", "1", "--out", "compared").ok()
    assert "IC-KD" in table
