"""Published students: their keys and weights, and stock loaders and tools that read them."""

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
    """Return a run that validates, and saves its last and its best checkpoint."""
    cfg = toys.toy(scope).student()
    cfg.default_hooks.checkpoint.save_best = "auto"
    ours = [dict(type="mmickd.ICKDHook", teacher=TEACHERS[teacher])] if teacher else []
    cfg.custom_hooks = [*ours, *hooks]
    return cfg


def publish(checkpoint: Path) -> tuple[Path, str]:
    """Publish a checkpoint; returns the file and the output."""
    out = toys.new_folder() / "student.pth"
    return out, command(sys.executable, ROOT / "tools/publish.py", checkpoint, out).ok()


def checkpoints(runner: Runner) -> list[Path]:
    """Return the last and the best checkpoint."""
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
def test_published_checkpoints_have_the_keys_of_a_plain_run(scope: str, teacher: str) -> None:
    plain = run(config(scope, None))
    cfg = config(scope, teacher)
    runner = run(cfg)
    assert "mmickd publish" in toys.log_of(runner)
    for plain_path, path in zip(checkpoints(plain), checkpoints(runner), strict=True):
        out, _ = publish(path)
        published = torch.load(out, weights_only=True)
        whole = torch.load(path, weights_only=False)
        assert "mmickd" in whole and set(published) == {"meta", "state_dict"}
        expected = torch.load(plain_path, weights_only=False)
        assert set(published["state_dict"]) == set(expected["state_dict"])
        assert set(published["meta"]) == set(expected["meta"])
        assert toys.same_state(published["state_dict"], whole["state_dict"])
        assert out.stat().st_size < path.stat().st_size
        load_checkpoint(student(cfg), str(out), map_location="cpu", strict=True)


def test_a_frozen_teacher_is_in_no_checkpoint_and_publishing_is_not_suggested() -> None:
    runner = run(toys.classifier().distilled(losses=toys.KD_ONLY))
    assert "mmickd publish" not in toys.log_of(runner)
    assert "mmickd" not in toys.checkpoint_of(runner)


def test_the_average_of_a_run_with_ema_is_published() -> None:
    cfg = config("mmpretrain", "self", EMA)
    runner = run(cfg)
    out, text = publish(checkpoints(runner)[0])
    assert "EMAHook" in text
    (hook,) = [hook for hook in runner.hooks if type(hook).__name__ == "EMAHook"]
    published = torch.load(out)["state_dict"]
    average = hook.ema_model.module.state_dict()
    assert toys.same_state(published, average)
    parameters = runner.model.named_parameters()
    assert not all(torch.equal(published[name], value) for name, value in parameters)

    plain = config("mmpretrain", None)
    plain.load_from = str(out)
    with plain_config_text():
        metrics = build(plain).test()
    validated = runner.message_hub.get_scalar("val/accuracy/top1").current()
    assert metrics["accuracy/top1"] == pytest.approx(validated)
