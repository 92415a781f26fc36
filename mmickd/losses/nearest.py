"""Losses that use the rows nearest to a query, of any class."""

from __future__ import annotations

from torch import Tensor

from mmickd.losses.base import BaseLoss
from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_integer


def nearest_rows(positives: Context, negatives: Context, count: int) -> Context:
    """Return the ``count`` rows of both contexts that the retriever ranks first.

    They are the nearest rows of the whole bank if both contexts have ``count`` columns; with
    :class:`~mmickd.retrieval.RandomRetriever` they are a uniform draw from the whole bank.

    Args:
        positives: ``(Q, K)``.
        negatives: ``(Q, N)``.
        count: rows to keep of each query.

    Returns:
        ``(Q, min(count, K + N))``, sorted by falling similarity.

    Example:
        >>> import torch
        >>> from dataclasses import replace
        >>> mask = torch.ones(1, 2, dtype=torch.bool)
        >>> positives = Context(torch.tensor([[0.9, 0.1]]), torch.zeros(1, 2, 3), mask, mask.long())
        >>> negatives = replace(positives, similarity=torch.tensor([[0.8, 0.7]]))
        >>> nearest_rows(positives, negatives, 3).similarity
        tensor([[0.9000, 0.8000, 0.7000]])
    """
    return positives.cat(negatives).top(count)


class NearestRowsLoss(BaseLoss):
    """Base of losses that use the nearest rows of any class.

    Args:
        num_rows: rows for each query, at least 1. The retriever is asked for ``num_rows`` rows of
            the query's class and as many of the other classes; :func:`nearest_rows` merges them.
    """

    unsafe_before_training = True

    def __init__(self, num_rows: int) -> None:
        super().__init__()
        check_integer(num_rows, 1, "num_rows")
        self.num_rows = self.num_positives = self.num_negatives = num_rows

    def counted(self, queries: Queries) -> Tensor:
        """Those with a row."""
        return queries.valid & (queries.positives.found | queries.negatives.found)
