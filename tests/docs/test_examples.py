"""The examples of docs/extend/extending.md work in real runs."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from docs.examples import (  # noqa: F401 (their imports register classes)
    changed_nicd,
    frozen_teacher,
    learning_teacher,
    new_loss,
    new_retriever,
    new_task,
)
from mmickd.banks import MemoryBank
from mmickd.banks.queue_bank import QueueBank
from mmickd.losses.base import mean_loss
from mmickd.retrieval import TorchRetriever
from mmickd.structures import Queries
from mmickd.tasks import SegmentationTask, kind_of_task
from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.commands import ROOT, command, logged_losses
from tests.helpers.learning_runs import learning_config, wider
from tests.helpers.recorders import Callback, bank_states
from tests.helpers.retrieval_cases import check_context, samples
from tests.helpers.teachers import empty_student
from tests.helpers.tiny import RUN_LOSSES, build, dump, history, resume, run, with_teacher

PATHS = os.pathsep.join([str(ROOT / "docs/examples"), str(ROOT)])
NEAREST = dict(type="NearestRow", loss_weight=0.5)


def test_a_new_loss_by_custom_imports(tmp_path: Path) -> None:
    toy = toys.classifier()
    cfg = toy.distilled(losses=dict(nearest=NEAREST, kd=None), bank=dict(cache_dir=str(tmp_path)))
    cfg.custom_imports = dict(imports=["new_loss"])
    words = ("train", dump(cfg, tmp_path / "run.py"), "--work-dir", "out")
    command(sys.executable, "-m", "mmickd", *words, cwd=tmp_path, PYTHONPATH=PATHS).ok()
    names = logged_losses(tmp_path / "out")[0].keys()
    assert {"loss_nearest", "nearest_sim"} <= names and "loss_kd" not in names


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_new_loss_is_the_mean_of_its_formula(scope: str) -> None:
    losses = dict(nearest=NEAREST, kd=None, picd=dict(num_positives=4), nicd=None)
    runner = run(toys.toy(scope).distilled(losses=losses))
    values = history(runner, "loss_nearest")
    assert len(values) == 3 and all(0 < value <= 0.5 * 2 for value in values)
    # both terms share a search: the nearest row is at least as similar as the mean of four
    nearest, four = history(runner, "nearest_sim"), history(runner, "picd_sim")
    assert all(a >= b > 0 for a, b in zip(nearest, four, strict=True))
    task = "loss_ce" if scope == "mmpretrain" else "decode.loss_ce"
    parts = [history(runner, name) for name in (task, "loss_picd", "loss_nearest")]
    total = [sum(values) for values in zip(*parts, strict=True)]
    assert history(runner, "loss") == pytest.approx(total, rel=1e-5)


def test_two_levels_and_two_instances_are_logged_apart() -> None:
    losses = dict(
        nearest=NEAREST, harder=dict(NEAREST, loss_weight=1.0), kd=None, picd=None, nicd=None
    )
    runner = run(toys.segmenter().distilled(losses=losses, level=["pixel", "region"]))
    for level in ("pixel", "region"):
        nearest, harder = (
            history(runner, f"loss_{name}_{level}") for name in ("nearest", "harder")
        )
        assert all(
            2 * a == pytest.approx(b) and a > 0 for a, b in zip(nearest, harder, strict=True)
        )


def test_a_loss_without_a_number_per_query_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_loss.NearestRow, "forward", lambda self, q: q.student_logits.sum())
    with pytest.raises(ICKDError, match=r"losses.nearest: .*\(\).* 4 queries"):
        run(toys.classifier().distilled(losses=dict(nearest=NEAREST)))


def test_the_changed_nicd_replaces_the_default_one() -> None:
    losses = dict(nicd=dict(type="MarginNICD", margin=0.1, num_negatives=8))
    runner = run(toys.segmenter().distilled(losses=losses))
    assert all(0 < value < 4 for value in history(runner, "loss_nicd"))
    assert all(value > 0 for value in history(runner, "nicd_sim"))
    with pytest.raises(ICKDError, match=r"losses\.nicd\.margin=-1"):
        build(toys.segmenter().distilled(losses=dict(nicd=dict(type="MarginNICD", margin=-1))))


def test_the_changed_nicd_equals_a_loop() -> None:
    g = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 4, generator=g)
    bank = samples(g, 5, 4, 4, 6)
    context = changed_context(bank, g)
    loss = changed_nicd.MarginNICD(margin=0.1)
    result = mean_loss(loss, Queries(student, teacher, negatives=context))
    total, counted = 0.0, 0
    for q in range(5):
        centred = student[q] - student[q].mean()
        zs = centred / (centred.square().sum() + 1).sqrt()
        u = unit(teacher[q])
        pushes = [
            max(0.0, float((zs - u) @ unit(context.logits[q, k])) - 0.1)
            for k in range(3)
            if context.mask[q, k]
        ]
        if pushes:
            total += 1 - float(zs @ u) + sum(pushes) / len(pushes)
            counted += 1
    assert float(result) == pytest.approx(total / counted, rel=1e-5)


def unit(logits: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(logits - logits.mean(), dim=0)


def changed_context(bank: Any, g: torch.Generator) -> Any:
    from mmickd.structures import Context

    mask = torch.tensor([[True, True, True], [True, False, False], [False] * 3, *[[True] * 3] * 2])
    return Context(torch.rand(5, 3), torch.randn(5, 3, 4, generator=g), mask, mask.long() - 1)


def test_the_new_retriever_caps_the_rows_of_a_class() -> None:
    g = torch.Generator().manual_seed(0)
    bank = MemoryBank(samples(g, 60, 6, 4, 8), 4)
    query = samples(g, 9, 6, 4, 8, least_label=-1)
    free = TorchRetriever().search(bank, query, 4, 60)
    capped = new_retriever.CappedRetriever(per_class=2).search(bank, query, 4, 60)
    assert torch.equal(capped[0].indices, free[0].indices)
    check_context(capped[1], bank, 9, 60)
    for q in range(9):
        nearest = free[1].indices[q][free[1].mask[q]].tolist()
        labels = [int(bank.labels[row]) for row in nearest]
        expected = [row for i, row in enumerate(nearest) if labels[:i].count(labels[i]) < 2]
        assert capped[1].indices[q][capped[1].mask[q]].tolist() == expected


@pytest.mark.parametrize("teacher", [{}, dict(type="SelfTeacher")], ids=["bank", "queue"])
def test_the_new_retriever_in_a_run(teacher: dict[str, Any]) -> None:
    cfg = toys.classifier().distilled(retriever=dict(type="CappedRetriever"))
    if teacher:
        cfg.custom_hooks[0].teacher = teacher
    runner = run(cfg)
    assert all(value > 0 for value in history(runner, "loss_picd")[1:])


def test_the_frozen_teacher_of_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=3)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    cfg = toys.classifier().distilled()
    cfg.custom_hooks[0].teacher = dict(
        type="TorchvisionTeacher",
        name="resnet18",
        checkpoint=str(tmp_path / "weights.pth"),
        num_classes=3,
        mean=[120.0, 110.0, 100.0],
        std=[60.0, 60.0, 60.0],
    )
    runner = run(cfg)
    assert "teacher layer network.fc" in toys.log_of(runner)
    assert all(value > 0 for value in history(runner, "loss_nicd"))
    assert "mmickd" not in toys.checkpoint_of(runner)


def test_the_teacher_that_learns_is_resumed_exactly() -> None:
    teacher = dict(type="AssistantTeacher", cfg=wider("mmpretrain"), lr=0.01)
    whole, half = (learning_config("mmpretrain", "image", iters, teacher) for iters in (4, 2))

    def state(runner: Runner) -> Any:
        assert isinstance(*toys.banks_of(runner).values(), QueueBank)
        model = toys.hook_of(runner).distiller.teacher.model
        return copy.deepcopy(model.state_dict()), bank_states(runner)

    recorders = [Callback(after_train_iter=state) for _ in range(3)]
    run(whole, recorders[0])
    run(half, recorders[1])
    resume(half, 4, recorders[2])
    expected, first_half, resumed = (recorder.results[-1] for recorder in recorders)
    assert not toys.same_state(expected[0], first_half[0])
    assert toys.same_state(resumed[0], expected[0])
    assert toys.same_state(resumed[1], expected[1])


@MODELS.register_module()
class CellClassifier(BaseModel):
    """Convolutional network that predicts a class for each of 4x4 cells."""

    predicts_cells = True

    def __init__(self, width: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.body = nn.Conv2d(3, width, 4, stride=4)
        self.classifier = nn.Conv2d(width, 3, 1)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        logits = self.classifier(self.body(inputs).relu())
        if mode == "tensor":
            return logits
        labels = torch.cat([sample.gt_label for sample in data_samples])
        labels = labels[:, None, None].expand(-1, *logits.shape[2:])
        return dict(loss=nn.functional.cross_entropy(logits, labels))


def test_the_new_task_distils_cell_by_cell(tmp_path: Path) -> None:
    assert kind_of_task(CellClassifier()) is new_task.CellTask
    assert kind_of_task(empty_student("mmseg")) is SegmentationTask
    cfg = toys.classifier().student()
    preprocessor = dict(cfg.pop("data_preprocessor"), type="mmpretrain.ClsDataPreprocessor")
    cfg.model = dict(type="CellClassifier", data_preprocessor=preprocessor)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    teacher = CellClassifier(width=16)
    torch.save(teacher.state_dict(), tmp_path / "cells.pth")
    options = dict(cfg=dict(cfg.model, width=16), checkpoint=str(tmp_path / "cells.pth"))
    runner = run(with_teacher(cfg, options, anchors=5, losses=RUN_LOSSES))
    assert "levels cell; student layer classifier" in toys.log_of(runner)
    for name in ("loss_kd", "loss_picd", "loss_nicd"):
        assert all(value > 0 for value in history(runner, name))
