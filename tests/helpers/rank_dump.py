"""A hook that saves the state of each rank at the end of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmickd.banks.shard import BankShard
from mmickd.structures import Samples
from tests.helpers import toys
from tests.helpers.tiny import dump, history, scalar_names


@HOOKS.register_module()
class RankDump(Hook):
    """Writes ``work_dir/rank<r>.pt``: parameters, the rows of the banks on this rank, losses."""

    priority = "LOWEST"

    def after_train_iter(self, runner: Runner, batch_idx: int, **kwargs: Any) -> None:
        if runner.iter + 1 < runner.max_iters:
            return
        banks = {
            level: bank.part if isinstance(bank, BankShard) else bank
            for level, bank in toys.banks_of(runner).items()
        }
        state = dict(
            parameters={n: p.detach() for n, p in runner.model.module.named_parameters()},
            banks={
                level: {name: getattr(bank, name) for name in Samples.names()}
                for level, bank in banks.items()
            },
            losses={
                name: history(runner, name)
                for name in scalar_names(runner, "loss_")
                if name.split("_")[1] in ("kd", "picd", "nicd")
            },
            world_size=runner.world_size,
        )
        torch.save(state, Path(runner.work_dir) / f"rank{runner.rank}.pt")


def with_rank_dump(cfg: Config) -> Path:
    """Write the config of a run with a :class:`RankDump` to ``run.py`` in a new folder."""
    cfg = cfg.copy()
    cfg.custom_imports = dict(imports=["tests.helpers.rank_dump"])
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type="RankDump")]
    return dump(cfg, toys.new_folder() / "run.py")


def read_rank_dumps(cfg: Config, ranks: int = 2) -> list[dict[str, Any]]:
    """Return what the ranks of a run have saved, on the CPU."""
    paths = [Path(cfg.work_dir) / f"rank{rank}.pt" for rank in range(ranks)]
    return [torch.load(path, map_location="cpu") for path in paths]
