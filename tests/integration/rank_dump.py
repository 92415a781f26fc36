"""A hook that writes what a rank holds at the end of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from tests.toy import history
from tests.toys import hook_of


@HOOKS.register_module()
class RankDump(Hook):
    """``work_dir/rank<r>.pt``: parameters, banks, logged losses."""

    priority = "LOWEST"

    def after_train_iter(self, runner: Runner, batch_idx: int, **kwargs: Any) -> None:
        if runner.iter + 1 < runner.max_iters:
            return
        distiller = hook_of(runner).distiller
        torch.save(
            dict(
                parameters={n: p.detach() for n, p in runner.model.module.named_parameters()},
                banks={
                    level: {n: getattr(bank, n) for n in ("features", "logits", "labels", "ids")}
                    for level, bank in distiller.banks.items()
                },
                loss_kd=history(runner, "loss_kd"),
                world_size=runner.world_size,
            ),
            Path(runner.work_dir) / f"rank{runner.rank}.pt",
        )
