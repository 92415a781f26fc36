"""Exact retrieval in torch: the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.registry import RETRIEVERS
from mmickd.retrieval.base import BaseRetriever, masked_topk, same_image
from mmickd.structures import Samples

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
        ValueError: if ``chunk_size`` is below 1.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1 or None, got {chunk_size}")
        self.chunk_size = chunk_size

    def _topk(
        self,
        bank: MemoryBank,
        query: Samples,
        num_positives: int,
        num_negatives: int,
        exclude_same_id: bool,
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        chunk = self.chunk_size or max(1, AUTO_CHUNK_ELEMENTS // max(1, len(bank)))
        # Widened once for all chunks; a bank in fp16 is half the memory, not half the precision.
        features = bank.features.float()
        parts: list[tuple[Tensor, ...]] = []
        for start in range(0, max(1, len(query)), chunk):
            part = query[slice(start, start + chunk)]
            similarity = part.features.float() @ features.T
            if exclude_same_id:
                similarity.masked_fill_(same_image(bank.ids, part.ids), -torch.inf)
            parts.append(
                (
                    *_positives(bank, part.labels, similarity, num_positives),
                    *_negatives(bank, part.labels, similarity, num_negatives),
                )
            )
        pos_scores, pos_rows, neg_scores, neg_rows = (
            torch.cat(t) for t in zip(*parts, strict=True)
        )
        return (pos_scores, pos_rows), (neg_scores, neg_rows)


def _positives(
    bank: MemoryBank, labels: Tensor, similarity: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Top ``k`` of ``(Q, M)`` similarities among the rows of each query's class."""
    slots = torch.arange(bank.max_class_size if k else 0, device=labels.device)
    own = labels.clamp(min=0)
    rows = bank.offsets[own][:, None] + slots
    outside = (rows >= bank.offsets[own + 1][:, None]) | (labels < 0)[:, None]
    rows = rows.masked_fill(outside, 0)
    scores = similarity.gather(1, rows).masked_fill(outside, -torch.inf)
    return masked_topk(scores, rows, k)


def _negatives(
    bank: MemoryBank, labels: Tensor, similarity: Tensor, n: int
) -> tuple[Tensor, Tensor]:
    """Top ``n`` of ``(Q, M)`` similarities among the other classes; overwrites ``similarity``."""
    if n:
        similarity.masked_fill_(bank.labels == labels[:, None], -torch.inf)
        similarity.masked_fill_((labels < 0)[:, None], -torch.inf)
    return masked_topk(similarity if n else similarity[:, :0], None, n)
