"""Runs of teachers that learn: an average of the student, or peers of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmickd.utils.errors import ICKDError
from tests.helpers import toys
from tests.helpers.recorders import Callback
from tests.helpers.tiny import build, train, with_run_losses, with_teacher

LEVELS = [("mmpretrain", "image"), ("mmseg", "pixel"), ("mmseg", ["pixel", "region"])]


def learning_config(
    scope: str, level: Any, iters: int, teacher: dict[str, Any], **options: Any
) -> Config:
    """Return a run with a teacher that draws nothing at random, so that resuming is exact."""
    cfg = without_randomness(toys.toy(scope).student(train_cfg__max_iters=iters))
    return with_teacher(cfg, teacher, level=level, anchors=32, **with_run_losses(options))


def without_randomness(cfg: Config) -> Config:
    """Leave out random transforms and dropout, and draw batches by the seed, in place."""
    loader = cfg.train_dataloader
    loader.sampler = dict(type="InfiniteSampler", shuffle=True)
    loader.dataset.pipeline = [t for t in loader.dataset.pipeline if "Random" not in t.type]
    if "decode_head" in cfg.model:
        cfg.model.decode_head.dropout_ratio = 0.0
    return cfg


def self_config(scope: str, level: Any, iters: int = 6, **options: Any) -> Config:
    """Return a run with a SelfTeacher; ``teacher`` among ``options`` has the teacher's options."""
    teacher = dict(type="SelfTeacher", warmup=2, **options.pop("teacher", {}))
    return learning_config(scope, level, iters, teacher, **options)


def online_config(scope: str, level: Any, iters: int = 4, **teacher: Any) -> Config:
    """Return a run with an OnlineTeacher of these options."""
    return learning_config(scope, level, iters, dict(type="OnlineTeacher", **teacher))


def wider(scope: str) -> dict[str, Any]:
    """Return a config of another architecture than the student's."""
    return toys.toy(scope).teacher_cfg.to_dict()


def saved_peers(runner: Runner) -> list[dict[str, Any]]:
    """Return the states of the peers in the last checkpoint of a run."""
    return toys.checkpoint_of(runner)["mmickd"]["peers"]


def stop_message(cfg: Config) -> str:
    """Return the error that stops a run before its first step; it logs and saves nothing."""
    steps = Callback(before_train_iter=lambda runner: None)
    runner = build(cfg, steps)
    checkpoints = set(Path(runner.work_dir).glob("*.pth"))
    with pytest.raises(ICKDError) as error:
        train(runner)
    assert not steps.results
    assert set(Path(runner.work_dir).glob("*.pth")) == checkpoints
    scalars = Path(runner.log_dir) / "vis_data/scalars.json"
    assert not scalars.exists() or not scalars.read_text()
    assert len(str(error.value)) < 700
    return str(error.value)
