"""Runs of teachers that learn: an average of the student, or peers of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.tiny import build, every_term, plain_config_text

LEVELS = [("mmpretrain", "image"), ("mmseg", "pixel"), ("mmseg", ["pixel", "region"])]


def hooked(scope: str, level: Any, iters: int, teacher: dict[str, Any], **options: Any) -> Config:
    """A run without anything random, so that resumed runs can be compared."""
    cfg = toys.toy(scope).student(train_cfg__max_iters=iters)
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset.pipeline = [t for t in pipeline if "Random" not in t.type]
    if scope == "mmseg":
        cfg.model.decode_head.dropout_ratio = 0.0
    hook = dict(type="mmickd.ICKDHook", teacher=teacher, level=level, anchors=32)
    cfg.custom_hooks = [{**hook, **every_term(options)}]
    return cfg


def self_taught(scope: str, level: Any, iters: int = 6, **options: Any) -> Config:
    """A run whose teacher is the student's past; ``teacher`` changes that teacher's options."""
    teacher = dict(type="SelfTeacher", warmup=2, **options.pop("teacher", {}))
    return hooked(scope, level, iters, teacher, **options)


def online(scope: str, level: Any, iters: int = 4, **teacher: Any) -> Config:
    """A run with peers; ``teacher`` has their options."""
    return hooked(scope, level, iters, dict(type="OnlineTeacher", **teacher))


def wider(scope: str) -> dict[str, Any]:
    """A config of another architecture than the student's."""
    return toys.toy(scope).teacher_cfg.to_dict()


def peers_of(runner: Runner) -> list[dict[str, Any]]:
    """What the last checkpoint of a run holds of its peers."""
    return toys.checkpoint_of(runner)["mmickd"]["peers"]


def stopped(cfg: Config) -> str:
    """Why a run ends before its first step, resumed or not: nothing is logged, nothing saved."""
    runner = build(cfg)
    stepped = StepCounter()
    runner.register_hook(stepped)
    saved = set(Path(runner.work_dir).glob("*.pth"))
    with pytest.raises(ICKDError) as caught, plain_config_text():
        runner.train()
    assert stepped.steps == 0
    assert set(Path(runner.work_dir).glob("*.pth")) == saved
    scalars = Path(runner.log_dir) / "vis_data/scalars.json"
    assert not scalars.exists() or not scalars.read_text()
    message = str(caught.value)
    assert len(message) < 700
    return message


class StepCounter(Hook):
    """Counts the steps that are begun."""

    def __init__(self) -> None:
        self.steps = 0

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.steps += 1
