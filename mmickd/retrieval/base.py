"""Base class of retrievers: it validates the query and returns contexts."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.structures import NO_ID, Context, DrawnContext, Samples

SearchResult = tuple[Tensor, Tensor]
"""Scores (float32, -inf where masked) and rows of the bank, both ``(Q, K)``."""

CHUNK_ELEMENTS = 2**24
"""Maximum number of logits of a chunk in float32; whole classes as positives have many."""


class BaseRetriever(metaclass=ABCMeta):
    """Base class of searches for the in-context samples of queries in a bank.

    A subclass implements :meth:`topk`. If it is registered in :data:`mmickd.registry.RETRIEVERS`,
    the hook's ``retriever`` can name it; arguments of ``__init__`` are options of the config.

    Attributes:
        searches_queues (bool): True if it can search a :class:`~mmickd.banks.QueueBank`, which
            changes in every step, and not only a frozen :class:`~mmickd.banks.MemoryBank`.

    Example:
        >>> class AllRows(BaseRetriever):  # of any class; docs/examples has a useful one
        ...     def topk(self, bank, query, num_positives, num_negatives):
        ...         scores = query.features @ bank.features.T
        ...         return masked_topk(scores, None, num_positives), masked_topk(scores, None, 0)
        >>> rows = Samples(torch.eye(2), torch.zeros(2, 2), torch.tensor([0, 1]), torch.arange(2))
        >>> positives, _ = AllRows().search(MemoryBank(rows, 2), rows, 1, 0)
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
        """Return the most similar rows of the query's class, and of the other classes.

        Positives are the top ``num_positives`` of ``<h_i, h_j>`` over the rows of the query's
        class, negatives the top ``num_negatives`` over the rows of the other classes. If there
        are too few rows, the rest is masked. Rows of equal similarity keep the order of the bank;
        which of them is retrieved at the end of the list is arbitrary.

        Args:
            bank: Bank of ``M`` rows.
            query: ``Q`` queries on the bank's device; for a label below 0 no row is retrieved.
            num_positives: ``K`` >= 0; None retrieves every row of the class (``K`` is then the
                size of the largest class).
            num_negatives: ``N`` >= 0.
            exclude_same_id: True leaves out the rows of the query's image.

        Returns:
            Positives ``(Q, K)`` and negatives ``(Q, N)``, each sorted by falling similarity.
            ``indices`` are rows of the bank, -1 where masked.

        Raises:
            ValueError: If a number is negative, or the widths of query and bank differ.
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
                f"the bank's features {bank.features.shape[1]}"
            )
        query = prepare_query(query, exclude_same_id)
        with torch.autocast(query.features.device.type, enabled=False):
            results = self.topk(bank, query, num_positives, num_negatives)
        positives, negatives = (
            _context_of_rows(bank, scores, rows, self.similarity(bank, query, scores, rows))
            for scores, rows in results
        )
        return positives, negatives

    @abstractmethod
    def topk(
        self, bank: MemoryBank, query: Samples, num_positives: int, num_negatives: int
    ) -> tuple[SearchResult, SearchResult]:
        """Return scores and rows of positives and of negatives, as :func:`masked_topk` does.

        Args:
            bank: Bank of ``M`` rows.
            query: ``Q`` queries with float32 features. For a label below 0 no row is retrieved;
                rows of the image ``query.ids`` are left out (``bank.leave_out``).
            num_positives: ``K``.
            num_negatives: ``N``.

        Returns:
            Scores and rows of the positives, both ``(Q, K)``, and of the negatives, both
            ``(Q, N)``, sorted by falling score. Scores are the similarities, unless
            :meth:`similarity` returns other values.
        """

    def similarity(
        self, bank: MemoryBank, query: Samples, scores: Tensor, rows: Tensor
    ) -> Tensor | None:
        """Return the similarities of rows that :meth:`topk` chose by other scores.

        Args:
            bank: As for :meth:`topk`.
            query: As for :meth:`topk`.
            scores: ``(Q, K)`` scores of :meth:`topk`.
            rows: ``(Q, K)`` rows of :meth:`topk`.

        Returns:
            ``(Q, K)`` float32, any number where masked; None if the scores are the similarities.
        """
        return None


def prepare_query(query: Samples, exclude_same_id: bool) -> Samples:
    """Return the queries in float32, with unknown images if no row is to be left out."""
    ids = query.ids if exclude_same_id else torch.full_like(query.ids, NO_ID)
    return Samples(query.features.float(), query.logits, query.labels, ids)


def masked_topk(scores: Tensor, rows: Tensor | None, k: int) -> SearchResult:
    """Return the top ``k`` of ``scores`` along the last axis, padded to ``k`` columns.

    Args:
        scores: ``(Q, M)`` float32, -inf where masked.
        rows: ``(Q, M)`` int64, the bank row of each score; None: its column.
        k: Number of columns of the result.

    Returns:
        ``(Q, k)`` scores (falling, -inf where masked) and ``(Q, k)`` rows; equal scores are
        sorted by row.

    Example:
        >>> scores = torch.tensor([[0.1, 0.9, -torch.inf]])
        >>> masked_topk(scores, rows=None, k=2)[1].tolist()
        [[1, 0]]
    """
    top, columns = scores.topk(min(k, scores.shape[1]), dim=1)
    top_rows = columns if rows is None else rows.gather(1, columns)
    top_rows, by_row = top_rows.sort(dim=1)
    top, by_score = top.gather(1, by_row).sort(dim=1, descending=True, stable=True)
    return pad_result(top, top_rows.gather(1, by_score), k)


def pad_result(scores: Tensor, rows: Tensor, k: int) -> SearchResult:
    """Pad scores and rows to ``k`` columns, masked at the end."""
    missing = k - scores.shape[1]
    return F.pad(scores, (0, missing), value=-torch.inf), F.pad(rows, (0, missing))


def to_context(
    scores: Tensor, rows: Tensor, logits: Tensor, similarity: Tensor | None = None
) -> Context:
    """Return a :class:`Context` whose masked entries are 0, and -1 in ``indices``.

    Args:
        scores: ``(Q, K)`` float32, falling, -inf where masked.
        rows: ``(Q, K)`` int64; any number where masked.
        logits: ``(Q, K, C)`` float32 logits of the rows; changed in place.
        similarity: ``(Q, K)`` float32, any number where masked; None: the scores.
    """
    mask = scores > -torch.inf
    indices = rows.masked_fill(~mask, -1)
    logits = logits.masked_fill_(~mask[..., None], 0.0)
    if similarity is None:
        return Context(scores.masked_fill(~mask, 0.0), logits, mask, indices)
    similarity = similarity.masked_fill(~mask, 0.0)
    return DrawnContext(similarity, logits, mask, indices, scores).top(scores.shape[1])


def _context_of_rows(
    bank: MemoryBank, scores: Tensor, rows: Tensor, similarity: Tensor | None
) -> Context:
    logits = torch.empty((*rows.shape, bank.num_classes), device=rows.device)
    if len(bank):
        valid_rows = rows.masked_fill(scores == -torch.inf, 0)
        chunk_size = max(1, CHUNK_ELEMENTS // max(1, logits[:1].numel()))
        chunks = zip(logits.split(chunk_size), valid_rows.split(chunk_size), strict=True)
        for target, chunk in chunks:
            target.copy_(bank.logits[chunk])
    return to_context(scores, rows, logits, similarity)
