"""A network's own losses and those of distillation."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def join_losses(
    task_losses: dict[str, Any], extra: dict[str, Tensor], task_weight: float = 1.0
) -> dict[str, Any]:
    """The task's losses and ours.

    mmpretrain calls its loss ``loss``, the name under which mmengine logs the total: it would hide
    the total in the log, so it becomes ``loss_ce``.

    Args:
        task_losses: a tensor, or a list of them, by name; those with 'loss' in their name are
            added to the total by mmengine, others are for the log.
        extra: ours.
        task_weight: of the task's losses, those of auxiliary heads too.
    """
    named = {("loss_ce" if name == "loss" else name): v for name, v in task_losses.items()}
    if task_weight != 1.0:
        named = {n: _scaled(v, task_weight) if "loss" in n else v for n, v in named.items()}
    return {**named, **extra}


def _scaled(value: Any, weight: float) -> Any:
    return [weight * v for v in value] if isinstance(value, (list, tuple)) else weight * value
