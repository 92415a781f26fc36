"""Exact retrieval in torch: the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mmickd.banks.exclusion import mask_rows
from mmickd.banks.memory_bank import MemoryBank
from mmickd.registry import RETRIEVERS
from mmickd.retrieval.base import BaseRetriever, SearchResult, masked_topk, padded
from mmickd.structures import Samples
from mmickd.utils.validation import check_integer

BLOCK_ELEMENTS = 2**25
"""Features, or similarities, that are held at once in float32: 128 MiB."""
KEPT_BYTES = 2**31
"""Of features of banks on the CPU that are kept in float32."""


@RETRIEVERS.register_module()
class TorchRetriever(BaseRetriever):
    """Exact top-k by matrix products of blocks of the bank and chunks of queries.

    All the work stays on the bank's device, without a host synchronisation. The rows of a class
    being one slice of the bank, positives are looked for in that slice only.

    A bank in fp16 is half the memory, not half the precision: a block of it is brought to float32
    once for all queries. On a CPU that costs as much as the product, and memory is cheap: the
    first 2 GiB are kept.

    Args:
        chunk_size: queries whose similarities to a block of the bank are held at once; None takes
            as many as fit 128 MiB.

    Raises:
        ICKDError: if ``chunk_size`` is below 1.

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
        found = [
            self._topk_in_block(begin, block, features, query, num_positives, num_negatives)
            for begin, block, features in self._blocks(bank)
        ]
        positives, negatives = zip(*found, strict=True)
        return _best(positives, num_positives), _best(negatives, num_negatives)

    def scores(self, queries: Tensor, features: Tensor) -> Tensor:
        """What rows are chosen by, the largest first.

        Args:
            queries: ``(Q, D)`` float32.
            features: ``(m, D)`` float32, of rows of the bank.

        Returns:
            ``(Q, m)`` float32, a new tensor: cosine similarities.
        """
        return queries @ features.T

    def _blocks(self, bank: MemoryBank) -> Iterator[tuple[int, Any, Tensor]]:
        """First row, block, and its features in float32."""
        kept = self._kept.setdefault(bank, {})
        for begin, block in bank.blocks(max(1, BLOCK_ELEMENTS // max(1, bank.features.shape[1]))):
            features = kept.get(begin)
            if features is None:
                features = block.features.float()
                if features is not block.features and self._has_room_for(features):
                    kept[begin] = features
            yield begin, block, features

    def _topk_in_block(
        self,
        begin: int,
        block: Any,
        features: Tensor,
        query: Samples,
        num_positives: int,
        num_negatives: int,
    ) -> tuple[SearchResult, SearchResult]:
        """Positives and negatives among the ``m`` rows of a block, as rows of the bank.

        Args:
            begin: the first row of the block.
            block: what knows the rows of a class and of an image.
            features: ``(m, D)`` float32, of the block.
            query: ``Q`` queries.
            num_positives: ``K``.
            num_negatives: ``N``.
        """
        chunk = self.chunk_size or max(1, BLOCK_ELEMENTS // max(1, len(features)))
        parts: list[tuple[Tensor, ...]] = []
        for start in range(0, max(1, len(query)), chunk):
            part = query[slice(start, start + chunk)]
            similarity = self.scores(part.features, features)
            block.leave_out(similarity, part.ids)
            rows, found = block.rows_of_class(part.labels)
            own = similarity.gather(1, rows).masked_fill_(~found, -torch.inf)
            positives = masked_topk(own, rows, min(num_positives, rows.shape[1]))
            if num_negatives:
                mask_rows(similarity, rows, found)
            negatives = masked_topk(similarity, None, min(num_negatives, len(features)))
            negatives[0].masked_fill_((part.labels < 0)[:, None], -torch.inf)
            parts.append((*positives, *negatives))
        pos_scores, pos_rows, neg_scores, neg_rows = (
            torch.cat(t) for t in zip(*parts, strict=True)
        )
        return (pos_scores, pos_rows + begin), (neg_scores, neg_rows + begin)

    def _has_room_for(self, features: Tensor) -> bool:
        kept = sum(one.nbytes for blocks in self._kept.values() for one in blocks.values())
        return features.device.type == "cpu" and kept + features.nbytes <= KEPT_BYTES


def _best(found: Sequence[SearchResult], k: int) -> SearchResult:
    """The best ``k`` of what was found in each block."""
    if len(found) > 1:
        scores, rows = (torch.cat(part, dim=1) for part in zip(*found, strict=True))
        return masked_topk(scores, rows, k)
    return padded(*found[0], k)
