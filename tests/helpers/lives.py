"""Short lives of the hook in one tiny run, which is as it was after each."""

from __future__ import annotations

import copy
from typing import Any

from mmickd.hooks import ICKDHook
from tests.helpers import toys
from tests.helpers.tiny import run


class Lives:
    """A run that ended, in which one hook after another begins anew."""

    def __init__(self) -> None:
        cfg = toys.classifier().student(train_cfg__max_iters=2)
        cfg.log_level = "ERROR"
        self._runner = run(cfg)
        self._student = copy.deepcopy(self._runner.model.state_dict())
        self._batch = next(iter(self._runner.train_dataloader))

    def live(self, options: dict[Any, Any]) -> set[str]:
        """Make a hook, prepare it, take two steps, save; the names of what the last step logs."""
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
        """A hook before its first step."""
        hook = ICKDHook(**{str(name): value for name, value in options.items()})
        self._runner.train_loop._iter = 0
        hook.before_run(self._runner)
        hook.before_train(self._runner)
        return hook

    def step(self, hook: ICKDHook) -> set[str]:
        """A step of the student, and of what learns beside it; the names of what it logs."""
        model, wrapper = self._runner.model, self._runner.optim_wrapper
        model.train()
        logged = model.train_step(copy.deepcopy(self._batch), optim_wrapper=wrapper)
        hook.after_train_iter(self._runner, 0)
        return set(logged)

    def end(self, hook: ICKDHook) -> None:
        """Leave the run as it was."""
        hook.after_train(self._runner)
        self._runner.model.load_state_dict(self._student)
