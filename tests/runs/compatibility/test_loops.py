"""mmengine's loops over iterations and epochs, with validation in the middle."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmickd.hooks import ICKDHook
from tests.helpers import toys
from tests.helpers.tiny import history, run

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
# training steps by scope and loop: 18 images in batches of 4, 6 images in batches of 2
CASES = {
    ("mmpretrain", "iterations"): 6,
    ("mmseg", "iterations, other intervals"): 6,
    ("mmpretrain", "epochs, other intervals"): 15,
    ("mmseg", "epochs"): 6,
}


class PassCounter(Hook):
    """Hook that counts validations, and the teacher's passes: True in validation, else False."""

    def __init__(self) -> None:
        self.is_validating, self.validations = False, 0
        self.passes = {True: 0, False: 0}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        hooks = [hook for hook in runner.hooks if isinstance(hook, ICKDHook)]
        if hooks and not self.passes[False]:
            hooks[0].distiller.teacher.model.backbone.register_forward_hook(self._count)

    def _count(self, *args: Any) -> None:
        self.passes[self.is_validating] += 1

    def before_val(self, runner: Runner) -> None:
        self.is_validating, self.validations = True, self.validations + 1

    def after_val(self, runner: Runner) -> None:
        self.is_validating = False


def in_loop(cfg: Config, loop: dict[str, Any]) -> Config:
    cfg.train_cfg = loop
    by_epoch = loop["type"] == "EpochBasedTrainLoop"
    cfg.default_hooks.checkpoint.by_epoch = cfg.log_processor.by_epoch = by_epoch
    return cfg


def count_passes(cfg: Config, loop: str) -> tuple[Runner, PassCounter]:
    counter = PassCounter()
    return run(in_loop(cfg, LOOPS[loop]), counter), counter


@pytest.mark.parametrize(("scope", "loop"), CASES)
def test_training_is_distilled_and_validation_is_not(scope: str, loop: str) -> None:
    toy, steps = toys.toy(scope), CASES[scope, loop]
    runner, counter = count_passes(toy.distilled(), loop)
    plain, plain_counter = count_passes(toy.student(), loop)
    assert runner.iter == plain.iter == steps
    assert counter.passes == {False: steps, True: 0}
    assert counter.validations == plain_counter.validations > 1
    assert all(v > 0 for v in history(runner, "loss_nicd"))
    off = run(in_loop(toy.distilled(losses=toys.OFF), LOOPS[loop]))
    assert toys.same_state(off.model.state_dict(), plain.model.state_dict())
