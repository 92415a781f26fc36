"""Losses that are shown the rows nearest to a query, of whatever class."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.losses.base import BaseLoss
from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_integer


def nearest_rows(positives: Context, negatives: Context, count: int) -> Context:
    """The ``count`` most similar of both; of the whole bank, if both have as many.

    Args:
        positives: ``(Q, K)``.
        negatives: ``(Q, N)``.
        count: rows to keep.

    Returns:
        ``(Q, min(count, K + N))``.

    Example:
        >>> from dataclasses import replace
        >>> mask = torch.ones(1, 2, dtype=torch.bool)
        >>> one = Context(torch.tensor([[0.9, 0.1]]), torch.zeros(1, 2, 3), mask, mask.long())
        >>> other = replace(one, similarity=torch.tensor([[0.8, 0.7]]))
        >>> nearest_rows(one, other, 3).similarity
        tensor([[0.9000, 0.8000, 0.7000]])
    """
    pair = (positives, negatives)
    similarity = torch.cat([context.similarity for context in pair], dim=1)
    logits = torch.cat([context.logits for context in pair], dim=1)
    mask = torch.cat([context.mask for context in pair], dim=1)
    indices = torch.cat([context.indices for context in pair], dim=1)
    count = min(count, mask.shape[1])
    kept = similarity.masked_fill(~mask, -torch.inf).topk(count, dim=1).indices
    return Context(
        similarity.gather(1, kept),
        logits.gather(1, kept[..., None].expand(-1, -1, logits.shape[2])),
        mask.gather(1, kept),
        indices.gather(1, kept),
    )


class NearestRowsLoss(BaseLoss):
    """The base of losses that ask for the nearest rows without looking at their class.

    Args:
        num_rows: rows for each query, at least 1. As many of the own class and of the others are
            retrieved: the nearest of all are among them.
    """

    needs_trained_teacher = True

    def __init__(self, num_rows: int) -> None:
        super().__init__()
        check_integer(num_rows, 1, "num_rows")
        self.num_rows = self.num_positives = self.num_negatives = num_rows

    def counted(self, queries: Queries) -> Tensor:
        """Those with a row."""
        return queries.valid & (queries.positives.found | queries.negatives.found)
