"""Exact retrieval in torch, the reference implementation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mmickd.banks.exclusion import mask_rows
from mmickd.banks.memory_bank import MemoryBank
from mmickd.registry import RETRIEVERS
from mmickd.retrieval.base import BaseRetriever, SearchResult, masked_topk, pad_result
from mmickd.structures import Samples
from mmickd.utils.validation import check_integer

BLOCK_ELEMENTS = 2**25
"""Maximum number of features, or of similarities, in float32: 128 MiB."""
KEPT_BYTES = 2**31
"""Maximum size of the features on the CPU that are kept in float32: 2 GiB."""


@RETRIEVERS.register_module()
class TorchRetriever(BaseRetriever):
    """Exact top-k by matrix products of blocks of the bank and chunks of queries.

    It runs on the bank's device without a host synchronisation. Positives are searched only in
    the slice of the query's class.

    The search is in float32 even if the bank is in fp16: a block is converted once for all
    queries. On a CPU the conversion takes as long as the product, so the first 2 GiB are kept.

    Args:
        chunk_size: Number of queries whose similarities to a block are in memory together; None: as
            many as fit into 128 MiB.

    Raises:
        ICKDError: If ``chunk_size`` is below 1.

    Example:
        >>> features, labels = torch.eye(3), torch.tensor([0, 0, 1])
        >>> rows = Samples(features, torch.zeros(3, 2), labels, ids=torch.arange(3))
        >>> bank = MemoryBank(rows, num_classes=2)
        >>> positives, negatives = TorchRetriever().search(bank, rows[:1], 1, 1)
        >>> positives.indices.tolist(), negatives.indices.tolist()
        ([[1]], [[2]])
    """

    searches_queues = True

    def __init__(self, chunk_size: int | None = None) -> None:
        check_integer(chunk_size, 1, "chunk_size", none=True)
        self.chunk_size = chunk_size
        self._kept: WeakKeyDictionary[MemoryBank, dict[int, Tensor]] = WeakKeyDictionary()

    def topk(
        self, bank: MemoryBank, query: Samples, num_positives: int, num_negatives: int
    ) -> tuple[SearchResult, SearchResult]:
        """See :meth:`BaseRetriever.topk`."""
        results = [
            self._topk_in_block(bank, begin, features, query, num_positives, num_negatives)
            for begin, features in self._blocks(bank)
        ]
        positives, negatives = zip(*results, strict=True)
        return _best(positives, num_positives), _best(negatives, num_negatives)

    def scores(self, queries: Tensor, features: Tensor) -> Tensor:
        """Return the scores by which rows are chosen; rows with the largest scores are retrieved.

        Args:
            queries: ``(Q, D)`` float32.
            features: ``(m, D)`` float32; features of rows of the bank.

        Returns:
            ``(Q, m)`` float32, a new tensor: cosine similarities.
        """
        return queries @ features.T

    def _blocks(self, bank: MemoryBank) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row of each block, and the block's features in float32."""
        kept = self._kept.setdefault(bank, {})
        size = max(1, BLOCK_ELEMENTS // max(1, bank.features.shape[1]))
        if bank.is_queue:
            size = len(bank)
        for begin in range(0, max(1, len(bank)), size):
            features = kept.get(begin)
            if features is None:
                block = bank.features[begin : begin + size]
                features = block.float()
                if features is not block and self._has_room_for(features):
                    kept[begin] = features
            yield begin, features

    def _topk_in_block(
        self,
        bank: MemoryBank,
        begin: int,
        features: Tensor,
        query: Samples,
        num_positives: int,
        num_negatives: int,
    ) -> tuple[SearchResult, SearchResult]:
        """Return positives and negatives among ``features (m, D)`` of rows from ``begin`` on."""
        chunk = self.chunk_size or max(1, BLOCK_ELEMENTS // max(1, len(features)))
        parts: list[tuple[Tensor, ...]] = []
        for start in range(0, max(1, len(query)), chunk):
            part = query[slice(start, start + chunk)]
            similarity = self.scores(part.features, features)
            bank.leave_out(similarity, part.ids, begin)
            rows, is_row = bank.rows_of_class(part.labels, begin, len(features))
            of_class = similarity.gather(1, rows).masked_fill_(~is_row, -torch.inf)
            positives = masked_topk(of_class, rows, min(num_positives, rows.shape[1]))
            if num_negatives:
                mask_rows(similarity, rows, is_row)
            negatives = masked_topk(similarity, None, min(num_negatives, len(features)))
            negatives[0].masked_fill_((part.labels < 0)[:, None], -torch.inf)
            parts.append((*positives, *negatives))
        pos_scores, pos_rows, neg_scores, neg_rows = (
            torch.cat(t) for t in zip(*parts, strict=True)
        )
        return (pos_scores, pos_rows + begin), (neg_scores, neg_rows + begin)

    def _has_room_for(self, features: Tensor) -> bool:
        kept = sum(block.nbytes for blocks in self._kept.values() for block in blocks.values())
        return features.device.type == "cpu" and kept + features.nbytes <= KEPT_BYTES


def _best(results: Sequence[SearchResult], k: int) -> SearchResult:
    """Return the top ``k`` of the results of all blocks."""
    if len(results) > 1:
        scores, rows = (torch.cat(parts, dim=1) for parts in zip(*results, strict=True))
        return masked_topk(scores, rows, k)
    return pad_result(*results[0], k)
