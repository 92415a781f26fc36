"""Inputs and reduced values of a single loss."""

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
    """Return valid queries of class 0, with other ``fields`` if given."""
    labels = torch.zeros(len(student), dtype=torch.long)
    empty = Context.empty(teacher)
    defaults = dict(
        student_logits=student,
        teacher_logits=teacher,
        student_features=student,
        features=teacher,
        labels=labels,
        valid=labels >= 0,
        positives=positives or empty,
        negatives=negatives or empty,
    )
    return Queries(**{**defaults, **fields})


def mean_of(loss: BaseLoss, loss_queries: Queries) -> Tensor:
    """Return the mean of a loss over the queries that count, on one rank."""
    return reduce_loss(loss(loss_queries), loss.counted(loss_queries))
