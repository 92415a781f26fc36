"""Settings, data and builders of a runner that teachers and preparation need."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine import dist
from mmengine.dataset import InfiniteSampler, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from torch import nn

from mmickd.sampling import image_id


@dataclass(frozen=True)
class RunContext:
    """Settings, data and builders of a runner.

    Args:
        student: Unwrapped student.
        device: Device of the student.
        train_dataset: Training set of the run; not a copy.
        val_dataset: Validation set of the run, or None.
        batch_size: Batch size of the training loader.
        num_workers: Workers of the training loader.
        batches: Batches of an epoch on this rank; None if infinite or unknown.
        has_worker_copies: True if workers of the training loader hold a copy of the training set.
        collate: ``collate_fn`` of the training loader.
        cfg: Whole config; empty for a runner that was built without one.
        tools: Builder of optimizers and schedulers of peers; None if the runner has none
            (FlexibleRunner).
    """

    student: nn.Module
    device: torch.device
    train_dataset: Any
    val_dataset: Any
    batch_size: int
    num_workers: int
    batches: int | None = None
    has_worker_copies: bool = False
    collate: Callable[[list[Any]], Any] = pseudo_collate
    cfg: Mapping[str, Any] = field(default_factory=dict)
    tools: TrainingTools | None = None


class TrainingTools:
    """Builder of wrapper, optimizer and schedulers of a peer, as the runner builds the student's.

    Args:
        runner: mmengine's ``Runner`` with its training loop.
    """

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.run_cfg = runner.cfg
        self.world_size = dist.get_world_size()

    def seed(self, purpose: str) -> int:
        """Return a seed that is derived from the run's seed and a purpose."""
        return image_id(f"{self._runner.seed}/{purpose}") % 2**32

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return a network in the student's wrapper for distributed training."""
        return self._runner.wrap_model(self.run_cfg.get("model_wrapper_cfg"), network)

    def optim_wrapper(self, network: nn.Module, cfg: Any) -> Any:
        """Return an optimizer wrapper with scaled learning rates and the run's iteration count.

        Args:
            network: Network to train.
            cfg: Config of the optimizer wrapper; None: the run's.

        Raises:
            Exception: Any error of mmengine or torch for such a config.
        """
        runner = self._runner
        wrapper = build_optim_wrapper(network, copy.deepcopy(cfg or self.run_cfg.optim_wrapper))
        scaling = self.run_cfg.get("auto_scale_lr") or {}
        if scaling.get("enable", False):
            batch_size = self.world_size * runner.train_dataloader.batch_size
            for group in wrapper.optimizer.param_groups:
                group["lr"] *= batch_size / scaling["base_batch_size"]
        if (
            wrapper.clip_grad_kwargs
        ):  # call it once: wrong options would fail only in the first step
            wrapper.clip_func([], **wrapper.clip_grad_kwargs)
        wrapper.initialize_count_status(network, runner.iter, runner.max_iters)
        return wrapper

    def param_schedulers(self, optim_wrapper: Any, cfg: Any) -> list[Any]:
        """Return the schedulers of an optimizer wrapper; ``cfg=None`` uses the run's config."""
        cfg = self.run_cfg.get("param_scheduler") if cfg is None else cfg
        if not cfg:
            return []
        return self._runner._build_param_scheduler(copy.deepcopy(cfg), optim_wrapper)


def run_context(runner: Any, student: nn.Module) -> RunContext:
    """Return settings, data and builders of a runner whose loops are built."""
    loader = runner.train_dataloader
    val_loop = getattr(runner, "_val_loop", None)
    val_loader = getattr(val_loop, "dataloader", None)
    return RunContext(
        student=student,
        device=next(student.parameters()).device,
        train_dataset=loader.dataset,
        val_dataset=getattr(val_loader, "dataset", None),
        batch_size=int(getattr(loader, "batch_size", None) or 1),
        num_workers=int(getattr(loader, "num_workers", 0)),
        batches=_batches(loader),
        has_worker_copies=_has_workers(getattr(runner, "_train_loop", None)),
        collate=loader.collate_fn,
        cfg=runner.cfg,
        tools=TrainingTools(runner) if isinstance(runner, Runner) else None,
    )


def _batches(loader: Any) -> int | None:
    """Return the batches of an epoch; None if they never end or their number is unknown."""
    try:
        return None if isinstance(loader.sampler, InfiniteSampler) else len(loader)
    except TypeError:  # an iterable data set, or a sampler without length
        return None


def _has_workers(train_loop: Any) -> bool:
    """True if the loop already reads batches in worker processes, as IterBasedTrainLoop does."""
    iterator = getattr(getattr(train_loop, "dataloader_iterator", None), "_iterator", None)
    return bool(getattr(iterator, "_workers", None))
