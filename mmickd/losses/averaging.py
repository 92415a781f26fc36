"""Averages over the queries of all ranks, as if one rank had them all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine import dist
from torch import Tensor


def average_factors(counted: Sequence[Tensor]) -> Tensor:
    """What each rank's sum must be divided by.

    Data-parallel training averages gradients over the ``W`` ranks, which hold different numbers
    of queries that count. A sum divided by their mean number over the ranks gives, after that
    average, the mean over all queries of all ranks. (OpenMMLab's ``avg_factor``.)

    All ranks call this together, with as many terms; no host synchronisation.

    Args:
        counted: ``(Q,)`` bool per term; ``Q`` may differ between terms and ranks.

    Returns:
        ``(len(counted),)`` float32, above 0: 1/W where no rank has a query.
    """
    counts = torch.stack([mask.sum() for mask in counted]).float()
    dist.all_reduce(counts, op="sum")
    return counts.clamp(min=1) / dist.get_world_size()
