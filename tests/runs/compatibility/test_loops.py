"""Loops of mmengine: by iterations and by epochs, with validation in the middle."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmickd.hooks import ICKDHook
from tests.helpers import toys
from tests.helpers.tiny import build, history, plain_config_text, run

LOOPS: dict[str, dict[str, Any]] = {
    "iterations": dict(type="IterBasedTrainLoop", max_iters=6, val_interval=2),
    "iterations, other intervals": dict(
        type="IterBasedTrainLoop", max_iters=6, val_interval=4, dynamic_intervals=[(4, 1)]
    ),
    "epochs": dict(type="EpochBasedTrainLoop", max_epochs=2, val_interval=1),
    "epochs, other intervals": dict(
        type="EpochBasedTrainLoop", max_epochs=3, val_interval=2, dynamic_intervals=[(2, 1)]
    ),
}
# (scope, loop): steps of training, with 18 images by 4 and 6 by 2
CASES = {
    ("mmpretrain", "iterations"): 6,
    ("mmseg", "iterations, other intervals"): 6,
    ("mmpretrain", "epochs, other intervals"): 15,
    ("mmseg", "epochs"): 6,
}


class Count(Hook):
    """Teacher's passes in training and in validation, and validations."""

    def __init__(self) -> None:
        self.validating, self.validations = False, 0
        self.passes = {True: 0, False: 0}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        hooks = [hook for hook in runner.hooks if isinstance(hook, ICKDHook)]
        if hooks and not self.passes[False]:
            hooks[0].distiller.teacher.model.backbone.register_forward_hook(self._count)

    def _count(self, *args: Any) -> None:
        self.passes[self.validating] += 1

    def before_val(self, runner: Runner) -> None:
        self.validating, self.validations = True, self.validations + 1

    def after_val(self, runner: Runner) -> None:
        self.validating = False


def in_loop(cfg: Config, loop: dict[str, Any]) -> Config:
    cfg.train_cfg = loop
    by_epoch = loop["type"] == "EpochBasedTrainLoop"
    cfg.default_hooks.checkpoint.by_epoch = cfg.log_processor.by_epoch = by_epoch
    return cfg


def counted(cfg: Config, loop: str) -> tuple[Runner, Count]:
    runner, count = build(in_loop(cfg, LOOPS[loop])), Count()
    runner.register_hook(count)
    with plain_config_text():
        runner.train()
    return runner, count


@pytest.mark.parametrize(("scope", "loop"), CASES)
def test_each_step_is_distilled_and_no_validation(scope: str, loop: str) -> None:
    toy, steps = toys.toy(scope), CASES[scope, loop]
    runner, count = counted(toy.distilled(), loop)
    plain, plain_count = counted(toy.student(), loop)
    assert runner.iter == plain.iter == steps
    assert count.passes == {False: steps, True: 0}
    assert count.validations == plain_count.validations > 1
    assert all(v > 0 for v in history(runner, "loss_nicd"))
    off = run(in_loop(toy.distilled(losses=toys.OFF), LOOPS[loop]))
    assert toys.same_state(dict(off.model.state_dict()), dict(plain.model.state_dict()))
