"""A hook that writes what a rank holds at the end of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmickd.banks import MemoryBank
from mmickd.banks.shard import BankShard
from mmickd.structures import Samples
from tests.helpers.tiny import history
from tests.helpers.toys import banks_of

LOSSES = ("loss_kd", "loss_picd", "loss_nicd", "loss_picd_pixel", "loss_nicd_region")


def held(bank: MemoryBank | BankShard) -> MemoryBank:
    """The rows that lie on this rank."""
    return bank.part if isinstance(bank, BankShard) else bank


def logged(runner: Runner, name: str) -> bool:
    return f"train/{name}" in runner.message_hub.log_scalars


@HOOKS.register_module()
class RankDump(Hook):
    """``work_dir/rank<r>.pt``: parameters, banks, logged losses."""

    priority = "LOWEST"

    def after_train_iter(self, runner: Runner, batch_idx: int, **kwargs: Any) -> None:
        if runner.iter + 1 < runner.max_iters:
            return
        torch.save(
            dict(
                parameters={n: p.detach() for n, p in runner.model.module.named_parameters()},
                banks={
                    level: {n: getattr(held(bank), n) for n in Samples.names()}
                    for level, bank in banks_of(runner).items()
                },
                losses={name: history(runner, name) for name in LOSSES if logged(runner, name)},
                world_size=runner.world_size,
            ),
            Path(runner.work_dir) / f"rank{runner.rank}.pt",
        )
