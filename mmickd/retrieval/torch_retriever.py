"""Exact retrieval in torch: the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.banks.exclusion import mask_rows
from mmickd.banks.memory_bank import MemoryBank
from mmickd.registry import RETRIEVERS
from mmickd.retrieval.base import BaseRetriever, Found, masked_topk
from mmickd.structures import Samples
from mmickd.utils.validation import check_integer

AUTO_CHUNK_ELEMENTS = 2**25
"""Similarities held at once by default: 128 MiB of float32."""


@RETRIEVERS.register_module()
class TorchRetriever(BaseRetriever):
    """Exact top-k by matrix products over chunks of queries.

    All the work stays on the bank's device, without a host synchronisation. The rows of a class
    being one slice of the bank, positives are looked for in that slice only.

    Args:
        chunk_size: queries whose similarities to the whole bank are held at once; None takes as
            many as fit 128 MiB.

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
        self._bank: MemoryBank | None = None
        self._features = torch.empty(0)

    def topk(
        self, bank: MemoryBank, query: Samples, num_positives: int, num_negatives: int
    ) -> tuple[Found, Found]:
        """See :meth:`BaseRetriever.topk`."""
        chunk = self.chunk_size or max(1, AUTO_CHUNK_ELEMENTS // max(1, len(bank)))
        parts: list[tuple[Tensor, ...]] = []
        for start in range(0, max(1, len(query)), chunk):
            part = query[slice(start, start + chunk)]
            similarity = self._similarity(bank, part.features)
            bank.leave_out(similarity, part.ids)
            rows, found = bank.rows_of_class(part.labels)
            own = similarity.gather(1, rows).masked_fill_(~found, -torch.inf)
            answer = masked_topk(own, rows, num_positives)
            if num_negatives:
                mask_rows(similarity, rows, found)
            negatives = masked_topk(similarity, None, num_negatives)
            negatives[0].masked_fill_((part.labels < 0)[:, None], -torch.inf)
            parts.append((*answer, *negatives))
        pos_scores, pos_rows, neg_scores, neg_rows = (
            torch.cat(t) for t in zip(*parts, strict=True)
        )
        return (pos_scores, pos_rows), (neg_scores, neg_rows)

    def _similarity(self, bank: MemoryBank, query: Tensor) -> Tensor:
        """``(Q, M)`` in float32: a bank in fp16 is half the memory, not half the precision.

        On a CPU widening costs as much as the product, and memory is cheap: the last bank's rows
        are kept in float32. On a GPU it is the other way round: they are widened block by block.
        """
        if bank.device.type == "cpu":
            if self._bank is not bank:
                self._bank, self._features = bank, bank.features.float()
            return query @ self._features.T
        return blockwise_product(query, bank.features, AUTO_CHUNK_ELEMENTS)


def blockwise_product(query: Tensor, features: Tensor, elements: int) -> Tensor:
    """``query @ features.T`` in float32, widening ``elements`` of ``features`` at once.

    Args:
        query: ``(Q, D)`` float32.
        features: ``(M, D)`` of any floating dtype.
        elements: at least one row is widened, whatever this says.

    Returns:
        ``(Q, M)`` float32.
    """
    blocks = features.split(max(1, elements // max(1, features.shape[1])))
    products = [query @ rows.float().T for rows in blocks]
    return products[0] if len(products) == 1 else torch.cat(products, dim=1)
