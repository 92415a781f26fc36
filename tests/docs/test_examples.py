"""The examples of docs/extending.md do what they say, in real runs."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from docs.examples import (  # noqa: F401 (they register themselves)
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
from tests.helpers.retrieval_cases import check_same_structure, samples
from tests.helpers.tiny import ALL_TERMS, build, history, plain_config_text, run

ROOT = Path(__file__).parents[2]
PULL = dict(type="PullToNearest", loss_weight=0.5)


def test_a_new_loss_by_the_tool_and_custom_imports(tmp_path: Path) -> None:
    toy = toys.classifier()
    cfg = toy.distilled(losses=dict(pull=PULL, kd=None), bank=dict(cache_dir=str(tmp_path)))
    cfg.custom_imports = dict(imports=["new_loss"])
    cfg.dump(tmp_path / "run.py")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/train.py"), "run.py", "--work-dir", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "docs/examples"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (log,) = (tmp_path / "out").glob("*/vis_data/scalars.json")
    assert '"loss_pull": ' in log.read_text() and '"pull_sim": ' in log.read_text()
    assert '"loss_kd": ' not in log.read_text()


@pytest.mark.parametrize("scope", toys.SCOPES)
def test_the_new_loss_is_the_mean_of_its_formula(scope: str) -> None:
    losses = dict(pull=PULL, kd=None, picd=dict(num_positives=4), nicd=None)
    runner = run(toys.toy(scope).distilled(losses=losses))
    values = history(runner, "loss_pull")
    assert len(values) == 3 and all(0 < value <= 0.5 * 2 for value in values)
    # one search for both terms: the nearest row is nearer than the mean of four
    for one, four in zip(history(runner, "pull_sim"), history(runner, "picd_sim"), strict=True):
        assert one >= four > 0
    total = history(runner, "loss")
    task = "loss_ce" if scope == "mmpretrain" else "decode.loss_ce"
    parts = [history(runner, name) for name in (task, "loss_picd", "loss_pull")]
    for value, *summands in zip(total, *parts, strict=True):
        assert value == pytest.approx(sum(summands), rel=1e-5)


def test_two_levels_and_two_instances_are_told_apart() -> None:
    losses = dict(pull=PULL, harder=dict(PULL, loss_weight=1.0), kd=None, picd=None, nicd=None)
    runner = run(toys.segmenter().distilled(losses=losses, level=["pixel", "region"]))
    for level in ("pixel", "region"):
        pull, harder = (history(runner, f"loss_{name}_{level}") for name in ("pull", "harder"))
        assert all(2 * a == pytest.approx(b) and a > 0 for a, b in zip(pull, harder, strict=True))


def test_a_loss_that_returns_no_number_per_query_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(new_loss.PullToNearest, "forward", lambda self, q: q.student_logits.sum())
    with pytest.raises(ICKDError, match=r"losses.pull: PullToNearest returns \(\) for 4 queries"):
        run(toys.classifier().distilled(losses=dict(pull=PULL)))


def test_the_changed_nicd_takes_the_place_of_the_stock_one() -> None:
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
    queries = Queries(student, teacher, negatives=context)
    got = mean_loss(changed_nicd.MarginNICD(margin=0.1), queries)
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
    assert float(got) == pytest.approx(total / counted, rel=1e-5)


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
    check_same_structure(capped[1], bank, 9, 60)
    for q in range(9):
        nearest = free[1].indices[q][free[1].mask[q]].tolist()
        labels = [int(bank.labels[row]) for row in nearest]
        want = [r for i, r in enumerate(nearest) if labels[:i].count(labels[i]) < 2]
        assert capped[1].indices[q][capped[1].mask[q]].tolist() == want


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
    runner = build(cfg)
    with plain_config_text():
        runner.train()
    assert "teacher layer network.fc" in toys.log_of(runner)
    assert all(value > 0 for value in history(runner, "loss_nicd"))
    assert "mmickd" not in toys.checkpoint_of(runner)


class Ends(Hook):
    """The bank and the weights of the assistant at the end."""

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        teacher = toys.hook_of(runner).distiller.teacher
        self.model = copy.deepcopy(teacher.model.state_dict())
        (self.bank,) = toys.banks_of(runner).values()


def assisted(iters: int) -> Any:
    cfg = toys.classifier().student(train_cfg__max_iters=iters)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    cfg.train_dataloader.dataset.pipeline.pop(1)  # the flip, which draws at random
    teacher = dict(type="AssistantTeacher", cfg=toys.classifier().teacher_cfg.to_dict(), lr=0.01)
    cfg.custom_hooks = [dict(type="mmickd.ICKDHook", teacher=teacher)]
    return cfg


def test_the_teacher_that_learns_goes_on_where_it_was() -> None:
    whole, half = assisted(4), assisted(2)
    ends = []
    for cfg in (whole, half):
        runner, end = build(cfg), Ends()
        runner.register_hook(end, "LOWEST")
        with plain_config_text():
            runner.train()
        ends.append(end)
    assert isinstance(ends[0].bank, QueueBank)
    assert not toys.same_state(ends[0].model, ends[1].model)
    half.train_cfg.max_iters, half.resume = 4, True
    runner, end = build(half), Ends()
    runner.register_hook(end, "LOWEST")
    with plain_config_text():
        runner.train()
    assert toys.same_state(end.model, ends[0].model)
    assert toys.same_state(end.bank.state_dict(), ends[0].bank.state_dict())


@MODELS.register_module()
class CellClassifier(BaseModel):
    """Convolutions, a class for each of 4x4 cells, the mean of their losses."""

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
    assert kind_of_task(toys_segmenter()) is SegmentationTask
    cfg = toys.classifier().student()
    preprocessor = dict(cfg.pop("data_preprocessor"), type="mmpretrain.ClsDataPreprocessor")
    cfg.model = dict(type="CellClassifier", data_preprocessor=preprocessor)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    teacher = CellClassifier(width=16)
    torch.save(teacher.state_dict(), tmp_path / "cells.pth")
    own = dict(cfg=dict(cfg.model, width=16), checkpoint=str(tmp_path / "cells.pth"))
    hook = dict(type="mmickd.ICKDHook", teacher=own, anchors=5, losses=ALL_TERMS)
    cfg.custom_hooks = [hook]
    runner = build(cfg)
    with plain_config_text():
        runner.train()
    assert "levels cell; student layer classifier" in toys.log_of(runner)
    for name in ("loss_kd", "loss_picd", "loss_nicd"):
        assert all(value > 0 for value in history(runner, name))


def toys_segmenter() -> nn.Module:
    module = nn.Module()
    module.decode_head = nn.Module()
    return module
