"""Short trainings with one hook after another in one tiny run, which is restored after each."""

from __future__ import annotations

import copy
from typing import Any

from mmickd.hooks import ICKDHook
from tests.helpers import toys
from tests.helpers.tiny import run


class HookRuns:
    """A run that has ended, in which new hooks train."""

    def __init__(self) -> None:
        cfg = toys.classifier().student(train_cfg__max_iters=2)
        cfg.log_level = "ERROR"
        self._runner = run(cfg)
        self._student = copy.deepcopy(self._runner.model.state_dict())
        self._batch = next(iter(self._runner.train_dataloader))

    def train(self, options: dict[Any, Any]) -> set[str]:
        """Build a hook, train two steps and save; returns the names that the last step logs."""
        hook = self.begin(options)
        try:
            self.step(hook)
            logged = self.step(hook)
            hook.after_train_epoch(self._runner)
            hook.before_save_checkpoint(self._runner, {})
            return logged
        finally:
            self.end(hook)

    def begin(self, options: dict[Any, Any]) -> ICKDHook:
        """Build a hook and prepare its first step."""
        hook = ICKDHook(**{str(name): value for name, value in options.items()})
        self._runner.train_loop._iter = 0
        hook.before_run(self._runner)
        hook.before_train(self._runner)
        return hook

    def step(self, hook: ICKDHook) -> set[str]:
        """Train a step; returns the names that it logs."""
        model, wrapper = self._runner.model, self._runner.optim_wrapper
        model.train()
        logged = model.train_step(copy.deepcopy(self._batch), optim_wrapper=wrapper)
        hook.after_train_iter(self._runner, 0)
        return set(logged)

    def end(self, hook: ICKDHook) -> None:
        """Detach the hook and restore the student."""
        hook.after_train(self._runner)
        self._runner.model.load_state_dict(self._student)
