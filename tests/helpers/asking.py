"""Losses asked as a step asks them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmickd.losses import BaseLoss
from mmickd.losses.base import reduce_loss
from mmickd.structures import Context, Queries


def queries(
    student: Tensor,
    teacher: Tensor,
    positives: Context | None = None,
    negatives: Context | None = None,
    **fields: Any,
) -> Queries:
    """Queries of class 0 that are all valid, or as ``fields`` say."""
    labels = torch.zeros(len(student), dtype=torch.long)
    nothing = Context.empty(teacher)
    given = dict(
        student_logits=student,
        teacher_logits=teacher,
        student_features=student,
        features=teacher,
        labels=labels,
        valid=labels >= 0,
        positives=positives or nothing,
        negatives=negatives or nothing,
    )
    return Queries(**{**given, **fields})


def mean_of(loss: BaseLoss, asked: Queries) -> Tensor:
    """What one rank makes of a loss."""
    return reduce_loss(loss(asked), loss.counted(asked))
