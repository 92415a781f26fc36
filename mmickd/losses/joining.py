"""A network's own losses and those of distillation."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def join_losses(task_losses: dict[str, Any], extra: dict[str, Tensor]) -> dict[str, Any]:
    """The task's losses and ours.

    mmpretrain calls its loss ``loss``, the name under which mmengine logs the total: it would hide
    the total in the log, so it becomes ``loss_ce``.
    """
    named = {("loss_ce" if name == "loss" else name): v for name, v in task_losses.items()}
    return {**named, **extra}
