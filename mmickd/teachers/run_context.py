"""The run that is distilled, as far as teachers and preparation need it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine import dist
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmickd.sampling import image_id


@dataclass(frozen=True)
class RunContext:
    """Parts of a runner.

    Args:
        student: unwrapped.
        device: where it trains.
        train_dataset: the live training set.
        val_dataset: the live validation set, or None.
        batch_size: of training.
        num_workers: of the training loader.
        batches: of an epoch, on this rank; None if they never end, or their number is not known.
        is_read_already: True if workers of the training loader have a copy of the training set.
        collate: makes a batch of samples, as the training loader does.
        cfg: the whole config; empty for a runner that was built without.
        tools: what trains further networks as the student is trained; None where the runner
            cannot (FlexibleRunner).
    """

    student: nn.Module
    device: torch.device
    train_dataset: Any
    val_dataset: Any
    batch_size: int
    num_workers: int
    batches: int | None = None
    is_read_already: bool = False
    collate: Callable[[list[Any]], Any] = pseudo_collate
    cfg: Mapping[str, Any] = field(default_factory=dict)
    tools: TrainingTools | None = None


class TrainingTools:
    """Builds what a further network needs as the runner builds it for the student.

    Args:
        runner: mmengine's ``Runner``, with its training loop.
    """

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.run_cfg = runner.cfg
        self.world_size = dist.get_world_size()
        self._seed = runner.seed

    def seed(self, purpose: str) -> int:
        """Of what a network draws at random; it follows from the run's own."""
        return image_id(f"{self._seed}/{purpose}") % 2**32

    def wrap(self, network: nn.Module) -> nn.Module:
        """For distributed training, as the student is wrapped."""
        return self._runner.wrap_model(self.run_cfg.get("model_wrapper_cfg"), network)

    def optim_wrapper(self, network: nn.Module, cfg: Any) -> Any:
        """By ``cfg``, or as the run's own; it scales rates and counts iterations as the run does.

        Raises:
            Exception: whatever mmengine or torch raise of such a config.
        """
        runner = self._runner
        wrapper = build_optim_wrapper(network, copy.deepcopy(cfg or self.run_cfg.optim_wrapper))
        scaling = self.run_cfg.get("auto_scale_lr") or {}
        if scaling.get("enable", False):
            batch_size = self.world_size * runner.train_dataloader.batch_size
            for group in wrapper.optimizer.param_groups:
                group["lr"] *= batch_size / scaling["base_batch_size"]
        if wrapper.clip_grad_kwargs:
            wrapper.clip_func([], **wrapper.clip_grad_kwargs)  # else it fails in the first step
        wrapper.initialize_count_status(network, runner.iter, runner.max_iters)
        return wrapper

    def param_schedulers(self, optim_wrapper: Any, cfg: Any) -> list[Any]:
        """By ``cfg``, or as the run's own."""
        cfg = self.run_cfg.get("param_scheduler") if cfg is None else cfg
        if not cfg:
            return []
        return self._runner._build_param_scheduler(copy.deepcopy(cfg), optim_wrapper)
