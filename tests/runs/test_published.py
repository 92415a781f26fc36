"""Published students: keys and weights, under the loaders and tools of the stock packages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner, load_checkpoint
from torch import nn

from tests.helpers import toys
from tests.helpers.commands import ROOT, command
from tests.helpers.tiny import build, plain_config_text, run

EMA = dict(type="EMAHook", momentum=0.5)
TEACHERS: dict[str, Any] = dict(self=dict(type="SelfTeacher"), online=dict(type="OnlineTeacher"))


def config(scope: str, teacher: str | None, *hooks: Any) -> Config:
    """A run that validates, and saves its last and its best checkpoint."""
    cfg = toys.toy(scope).student()
    cfg.default_hooks.checkpoint.save_best = "auto"
    ours = [dict(type="mmickd.ICKDHook", teacher=TEACHERS[teacher])] if teacher else []
    cfg.custom_hooks = [*ours, *hooks]
    return cfg


def publish(checkpoint: Path) -> tuple[Path, str]:
    """The published file, and what was printed."""
    out = toys.new_folder() / "student.pth"
    return out, command(sys.executable, ROOT / "tools/publish.py", checkpoint, out).ok()


def checkpoints(runner: Runner) -> list[Path]:
    """The last one and the best one."""
    (best,) = Path(runner.work_dir).glob("best_*.pth")
    return [Path((Path(runner.work_dir) / "last_checkpoint").read_text()), best]


def student(cfg: Config) -> nn.Module:
    model: nn.Module = MODELS.build(
        {**cfg.model, "data_preprocessor": cfg.get("data_preprocessor")}
    )
    return model


@pytest.mark.parametrize(
    ("scope", "teacher"), [("mmpretrain", "self"), ("mmpretrain", "online"), ("mmseg", "self")]
)
def test_best_and_last_hold_what_a_run_without_the_hook_holds(scope: str, teacher: str) -> None:
    plain = run(config(scope, None))
    cfg = config(scope, teacher)
    runner = run(cfg)
    assert "mmickd publish" in toys.log_of(runner)
    for without, path in zip(checkpoints(plain), checkpoints(runner), strict=True):
        out, _ = publish(path)
        published, whole = torch.load(out, weights_only=True), torch.load(path, weights_only=False)
        assert "mmickd" in whole and set(published) == {"meta", "state_dict"}
        expected = torch.load(without, weights_only=False)
        assert set(published["state_dict"]) == set(expected["state_dict"])
        assert set(published["meta"]) == set(expected["meta"])
        assert toys.same_state(published["state_dict"], whole["state_dict"])
        assert out.stat().st_size < path.stat().st_size
        load_checkpoint(student(cfg), str(out), map_location="cpu", strict=True)


def test_a_frozen_teacher_is_in_no_checkpoint_and_nothing_is_said() -> None:
    runner = run(toys.classifier().distilled(losses=toys.KD_ONLY))
    assert "mmickd publish" not in toys.log_of(runner)
    assert "mmickd" not in toys.checkpoint_of(runner)


def test_of_a_run_with_ema_the_average_is_published() -> None:
    cfg = config("mmpretrain", "self", EMA)
    runner = run(cfg)
    out, text = publish(checkpoints(runner)[0])
    assert "averaged by EMAHook" in text
    (hook,) = [hook for hook in runner.hooks if type(hook).__name__ == "EMAHook"]
    published = torch.load(out)["state_dict"]
    average = hook.ema_model.module.state_dict()
    assert toys.same_state(published, dict(average))
    trained = dict(runner.model.named_parameters())
    assert not all(torch.equal(published[name], value) for name, value in trained.items())

    again = config("mmpretrain", None)
    again.load_from = str(out)
    with plain_config_text():
        metrics = build(again).test()
    validated = runner.message_hub.get_scalar("val/accuracy/top1").current()
    assert metrics["accuracy/top1"] == pytest.approx(validated)
