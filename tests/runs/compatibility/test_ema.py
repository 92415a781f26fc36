"""EMAHook in resumed runs and in validation; ``test_isolation.py`` tests its keys and copies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tests.helpers import toys
from tests.helpers.recorders import parameters
from tests.helpers.tiny import run

EMA = dict(type="EMAHook", momentum=0.1)


def config(order: str, losses: Any = None, hook: bool = True, **changes: Any) -> Config:
    toy = toys.classifier()
    cfg = toy.student(train_cfg__max_iters=4, **changes)
    if not hook:
        cfg.custom_hooks = [EMA]
        return cfg
    cfg = toy.distilled(cfg, losses=losses)
    cfg.custom_hooks.insert(0 if order == "before" else 1, EMA)
    return cfg


def ema_of(runner: Runner) -> dict[str, torch.Tensor]:
    """Return copies of the averaged parameters."""
    (hook,) = [h for h in runner.hooks if type(h).__name__ == "EMAHook"]
    return {n: p.clone() for n, p in hook.ema_model.module.named_parameters()}


class EmaRecorder(Hook):
    """Records the average before training and after each step, and the validated parameters."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.first: dict[str, torch.Tensor] = {}
        self.average: dict[str, torch.Tensor] = {}
        self.validated: list[dict[str, torch.Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        self.first = ema_of(runner)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.average = ema_of(runner)

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.validated.append(parameters(runner.model))


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_average_goes_on_in_a_resumed_run(order: str) -> None:
    every = dict(default_hooks__checkpoint__interval=2)
    first = config(order, **every)
    run(first)
    path = f"{first.work_dir}/iter_2.pth"
    checkpoint = torch.load(path, weights_only=False)
    recorder = EmaRecorder()
    runner = run(config(order, resume=True, load_from=path), recorder)
    assert runner.iter == 4
    assert not [key for key in checkpoint if "ickd" in key.lower() or "teacher" in key]
    # mmengine saves the average in place of the model
    saved = {name: checkpoint["state_dict"][name] for name in recorder.first}
    assert toys.same_state(recorder.first, saved)
    assert not toys.same_state(recorder.average, recorder.first)
    # the average is validated, the model is trained
    assert recorder.validated
    for validated in recorder.validated:
        assert toys.same_state(validated, recorder.average)
    assert not toys.same_state(parameters(runner.model), recorder.average)


def test_weight_zero_is_the_resumed_run_without_the_hook() -> None:
    every = dict(default_hooks__checkpoint__interval=2)
    checkpoints = []
    for options in (dict(hook=False), dict(losses=toys.OFF)):
        first = config("before", **options, **every)
        run(first)
        resumed = dict(resume=True, load_from=f"{first.work_dir}/iter_2.pth")
        checkpoints.append(toys.checkpoint_of(run(config("before", **options, **resumed))))
    for part in ("state_dict", "ema_state_dict"):
        assert toys.same_state(*(checkpoint[part] for checkpoint in checkpoints))
