"""EMAHook over the life of a run: resumed, and in validation. (Keys and copies: test_isolation.)"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tests.helpers import toys
from tests.helpers.tiny import build, plain_config_text, run

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
    """Averaged parameters."""
    (hook,) = [h for h in runner.hooks if type(h).__name__ == "EMAHook"]
    return {n: p.clone() for n, p in hook.ema_model.module.named_parameters()}


def parameters_of(runner: Runner) -> dict[str, torch.Tensor]:
    return {n: p.clone() for n, p in runner.model.named_parameters()}


class Look(Hook):
    """What model and average hold before the first step, and around and in validation."""

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
        self.validated.append(parameters_of(runner))


def looked_at(cfg: Config) -> tuple[Runner, Look]:
    runner, look = build(cfg), Look()
    runner.register_hook(look)
    with plain_config_text():
        runner.train()
    return runner, look


def saved_half(cfg: Config) -> dict[str, Any]:
    """The checkpoint of ``cfg`` after two steps."""
    half = run(cfg)
    return torch.load(f"{half.work_dir}/iter_2.pth", weights_only=False)


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_average_goes_on_in_a_resumed_run(order: str) -> None:
    every = dict(default_hooks__checkpoint__interval=2)
    first = config(order, **every)
    saved = saved_half(first)
    second = config(order, resume=True, load_from=f"{first.work_dir}/iter_2.pth")
    runner, look = looked_at(second)
    assert runner.iter == 4
    assert not [key for key in saved if "ickd" in key.lower() or "teacher" in key]
    # mmengine saves the average in the model's place
    names = look.first.keys()
    assert toys.same_state(look.first, {name: saved["state_dict"][name] for name in names})
    assert not toys.same_state(look.average, look.first)
    # what is validated is the average, what is trained on is not
    assert look.validated
    for parameters in look.validated:
        assert toys.same_state(parameters, look.average)
    assert not toys.same_state(parameters_of(runner), look.average)


def test_weight_zero_is_the_resumed_run_without_the_hook() -> None:
    every = dict(default_hooks__checkpoint__interval=2)
    ends = []
    for options in (dict(hook=False), dict(losses=toys.OFF)):
        first = config("before", **options, **every)
        run(first)
        resumed = dict(resume=True, load_from=f"{first.work_dir}/iter_2.pth")
        ends.append(toys.checkpoint_of(run(config("before", **options, **resumed))))
    for part in ("state_dict", "ema_state_dict"):
        assert toys.same_state(dict(ends[0][part]), dict(ends[1][part]))
