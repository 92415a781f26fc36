"""The base of every retriever: it checks the question, and shapes the answer."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.structures import NO_ID, Context, DrawnContext, Samples

SearchResult = tuple[Tensor, Tensor]
"""Scores (float32, -inf where masked) and rows of the bank, both ``(Q, K)``."""

PIECE_ELEMENTS = 2**24
"""Logits that are brought to float32 at once: with whole classes as positives they are many."""


class BaseRetriever(metaclass=ABCMeta):
    """Finds the in-context samples of queries in a bank.

    A subclass answers :meth:`topk`. Registered in :data:`mmickd.registry.RETRIEVERS` it can stand
    in the hook's ``retriever``; arguments of ``__init__`` are options of the config.

    Attributes:
        searches_queues (bool): whether it can search a :class:`~mmickd.banks.QueueBank`, which
            changes with every step, and not only a frozen :class:`~mmickd.banks.MemoryBank`.

    Example:
        >>> class FirstRows(BaseRetriever):  # whatever was asked; docs/examples has a useful one
        ...     def topk(self, bank, query, num_positives, num_negatives):
        ...         scores = query.features @ bank.features.T
        ...         return masked_topk(scores, None, num_positives), masked_topk(scores, None, 0)
        >>> rows = Samples(torch.eye(2), torch.zeros(2, 2), torch.tensor([0, 1]), torch.arange(2))
        >>> positives, _ = FirstRows().search(MemoryBank(rows, 2), rows, 1, 0)
        >>> positives.indices.tolist()
        [[0], [1]]
    """

    searches_queues: bool = False

    @torch.no_grad()
    def search(
        self,
        bank: MemoryBank,
        query: Samples,
        num_positives: int | None,
        num_negatives: int,
        exclude_same_id: bool = True,
    ) -> tuple[Context, Context]:
        """The most similar same-class and other-class rows of each query.

        Positives are the top ``num_positives`` of ``<h_i, h_j>`` over the rows of the query's
        class, negatives the top ``num_negatives`` over the rows of the other classes. Too few
        rows are a masked case. Rows of equal similarity stand in the order of the bank; which of
        them are taken where the cut falls between them is left open.

        Args:
            bank: ``M`` rows.
            query: ``Q`` queries on the bank's device; a label below 0 finds nothing.
            num_positives: ``K`` >= 0; None takes every row of the class (``K`` is then the size
                of the largest class).
            num_negatives: ``N`` >= 0.
            exclude_same_id: leave out the rows of the query's own image.

        Returns:
            Positives ``(Q, K)`` and negatives ``(Q, N)``, each sorted by falling similarity;
            ``indices`` are rows of the bank, -1 where masked.

        Raises:
            ValueError: if a number is negative, or the widths of query and bank differ.
        """
        if num_positives is None:
            num_positives = bank.max_class_size
        if num_negatives < 0 or num_positives < 0:
            raise ValueError(
                "num_positives and num_negatives must not be negative, "
                f"got {num_positives} and {num_negatives}"
            )
        if query.features.shape[1] != bank.features.shape[1]:
            raise ValueError(
                f"query features are {query.features.shape[1]} wide, "
                f"those of the bank {bank.features.shape[1]}"
            )
        query = askable(query, exclude_same_id)
        with torch.autocast(query.features.device.type, enabled=False):
            found = self.topk(bank, query, num_positives, num_negatives)
        positives, negatives = (
            look_up(bank, scores, rows, self.similarity(bank, query, scores, rows))
            for scores, rows in found
        )
        return positives, negatives

    @abstractmethod
    def topk(
        self, bank: MemoryBank, query: Samples, num_positives: int, num_negatives: int
    ) -> tuple[SearchResult, SearchResult]:
        """Rows of positives and negatives; :func:`masked_topk` gives this shape.

        Args:
            bank: ``M`` rows.
            query: ``Q`` queries with float32 features; a label below 0 finds nothing, and rows of
                the image ``query.ids`` are left out (:mod:`mmickd.banks.exclusion`).
            num_positives: ``K``.
            num_negatives: ``N``.

        Returns:
            Scores (float32, -inf where masked) and rows of the positives, ``(Q, K)`` both, and of
            the negatives, ``(Q, N)`` both; each sorted by falling score. Scores are similarities,
            unless :meth:`similarity` returns them.
        """

    def similarity(
        self, bank: MemoryBank, query: Samples, scores: Tensor, rows: Tensor
    ) -> Tensor | None:
        """Return the similarities of rows that were chosen by other scores.

        A retriever overrides this if its :meth:`topk` does not choose by similarity.

        Args:
            bank: ``M`` rows.
            query: ``Q`` queries.
            scores: ``(Q, K)`` of :meth:`topk`.
            rows: ``(Q, K)`` of :meth:`topk`.

        Returns:
            ``(Q, K)`` float32, any number where masked; None: the scores are the similarities.
        """
        return None


def askable(query: Samples, exclude_same_id: bool) -> Samples:
    """Queries in float32, of no known image where nothing is to be left out."""
    ids = query.ids if exclude_same_id else torch.full_like(query.ids, NO_ID)
    return Samples(query.features.float(), query.logits, query.labels, ids)


def masked_topk(scores: Tensor, rows: Tensor | None, k: int) -> SearchResult:
    """Top ``k`` of ``scores`` along the last axis, padded to ``k`` where there are fewer.

    Args:
        scores: ``(Q, M)`` float32, -inf where masked.
        rows: ``(Q, M)`` int64, the bank row of each score; None: its column.
        k: how many.

    Returns:
        ``(Q, k)`` scores (falling, -inf where masked) and ``(Q, k)`` rows; equal scores by row.

    Example:
        >>> scores = torch.tensor([[0.1, 0.9, -torch.inf]])
        >>> masked_topk(scores, rows=None, k=2)[1].tolist()
        [[1, 0]]
    """
    top, columns = scores.topk(min(k, scores.shape[1]), dim=1)
    found = columns if rows is None else rows.gather(1, columns)
    found, by_row = found.sort(dim=1)
    top, by_score = top.gather(1, by_row).sort(dim=1, descending=True, stable=True)
    found = found.gather(1, by_score)
    return padded(top, found, k)


def padded(scores: Tensor, rows: Tensor, k: int) -> SearchResult:
    """``(Q, k)`` scores and rows of fewer, masked at the end."""
    missing = k - scores.shape[1]
    return F.pad(scores, (0, missing), value=-torch.inf), F.pad(rows, (0, missing))


def to_context(
    scores: Tensor, rows: Tensor, logits: Tensor, similarity: Tensor | None = None
) -> Context:
    """A :class:`Context` in which nothing of a masked entry is left.

    Args:
        scores: ``(Q, K)`` float32, -inf where masked; sorted by falling value.
        rows: ``(Q, K)`` int64; any number where masked.
        logits: ``(Q, K, C)`` float32 of the rows, which become the context's; anything where
            masked.
        similarity: ``(Q, K)`` float32; anything where masked. None: the scores.
    """
    mask = scores > -torch.inf
    indices = rows.masked_fill(~mask, -1)
    logits = logits.masked_fill_(~mask[..., None], 0.0)
    if similarity is None:
        return Context(scores.masked_fill(~mask, 0.0), logits, mask, indices)
    similarity = similarity.masked_fill(~mask, 0.0)
    return DrawnContext(similarity, logits, mask, indices, scores).top(scores.shape[1])


def look_up(
    bank: MemoryBank, scores: Tensor, rows: Tensor, similarity: Tensor | None = None
) -> Context:
    """The context of rows of a bank, with their logits; see :func:`to_context`."""
    logits = torch.empty((*rows.shape, bank.num_classes), device=rows.device)
    if len(bank):
        known = rows.masked_fill(scores == -torch.inf, 0)
        at_once = max(1, PIECE_ELEMENTS // max(1, logits[:1].numel()))
        for target, wanted in zip(logits.split(at_once), known.split(at_once), strict=True):
            target.copy_(bank.logits[wanted])
    return to_context(scores, rows, logits, similarity)
