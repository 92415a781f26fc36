"""Retrieval from a bank that is sharded over all ranks."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import Tensor

from mmickd.banks.ranks import gather_samples
from mmickd.banks.shard import BankShard
from mmickd.retrieval.base import BaseRetriever, masked_topk, prepare_query, to_context
from mmickd.structures import Context, Samples


class ShardedRetriever:
    """Retriever that merges the best rows of every rank.

    The result equals the result of the whole bank on one rank, up to the rounding of a matrix
    product of another shape. All ranks search together; each has any number of queries.

    Every rank gets the ``Q`` queries of all ranks and returns ``Q K`` similarities and row numbers;
    then the logits of each retrieved row are sent once. The sizes of these messages need a host
    synchronisation, which a whole bank does not need.

    Args:
        local: Retriever that searches the rows of this rank.
    """

    def __init__(self, local: BaseRetriever) -> None:
        self._local = local

    @torch.no_grad()
    def search(
        self,
        bank: BankShard,
        query: Samples,
        num_positives: int | None,
        num_negatives: int,
        exclude_same_id: bool = True,
    ) -> tuple[Context, Context]:
        """See :meth:`BaseRetriever.search`; ``indices`` are rows of the whole bank."""
        if num_positives is None:
            num_positives = bank.max_class_size
        query = prepare_query(query, exclude_same_id)
        no_logits = query.features.new_empty((len(query), 0))  # the search needs no logits
        query = Samples(query.features, no_logits, query.labels, query.ids)
        queries, sizes = gather_samples(query)
        with torch.autocast(query.features.device.type, enabled=False):
            results = self._local.topk(bank.part, queries, num_positives, num_negatives)
            similarities = [self._local.similarity(bank.part, queries, *pair) for pair in results]
        best = [
            _best_of_all(scores, bank.rows_in_bank(rows), similarity, sizes, len(query))
            for (scores, rows), similarity in zip(results, similarities, strict=True)
        ]
        all_scores = torch.cat([scores for scores, _, _ in best], dim=1)
        all_rows = torch.cat([rows for _, rows, _ in best], dim=1)
        logits = _logits_of(bank, all_scores, all_rows)
        parts = logits.split([num_positives, num_negatives], dim=1)
        positives, negatives = (
            to_context(scores, rows, part, similarity)
            for (scores, rows, similarity), part in zip(best, parts, strict=True)
        )
        return positives, negatives


def fetch_rows(bank: BankShard, source: Tensor, rows: Tensor) -> Tensor:
    """Return rows of the whole bank from the ranks that hold them.

    Args:
        bank: Rows of this rank.
        source: ``(m, ...)``; tensor of the rank's rows that is read.
        rows: ``(R,)`` int64; rows of the whole bank that this rank needs.

    Returns:
        ``(R, ...)`` of the dtype of ``source``.
    """
    owners = rows % bank.world_size
    order = owners.argsort()
    to_receive = torch.bincount(owners, minlength=bank.world_size)
    to_send = torch.empty_like(to_receive)
    torch_dist.all_to_all_single(to_send, to_receive)
    receive_sizes, send_sizes = torch.stack([to_receive, to_send]).tolist()
    requested = rows.new_empty(sum(send_sizes))
    torch_dist.all_to_all_single(
        requested, rows[order] // bank.world_size, send_sizes, receive_sizes
    )
    received = source.new_empty((len(rows), *source.shape[1:]))
    torch_dist.all_to_all_single(received, source[requested], receive_sizes, send_sizes)
    return torch.empty_like(received).index_copy_(0, order, received)


def _best_of_all(
    scores: Tensor, rows: Tensor, similarity: Tensor | None, sizes: list[int], count: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the best rows for the queries of this rank, from the results of all ranks.

    Args:
        scores: ``(Q_0 + Q_1 + ..., k)``; this rank's results for the queries of all ranks.
        rows: Rows of the whole bank, of the same shape.
        similarity: Similarities, of the same shape; None if the scores are the similarities.
        sizes: Number of queries of each rank.
        count: Number of queries of this rank.

    Returns:
        ``(count, k)`` scores, rows, and similarities or None.
    """
    k, world_size = scores.shape[1], len(sizes)

    def exchange(results: Tensor) -> Tensor:
        received = results.new_empty((world_size * count, k))
        torch_dist.all_to_all_single(received, results.contiguous(), [count] * world_size, sizes)
        return received.view(world_size, count, k).transpose(0, 1).reshape(count, world_size * k)

    if similarity is None:
        return *masked_topk(exchange(scores), exchange(rows), k), None
    best, columns = masked_topk(exchange(scores), None, k)
    return best, exchange(rows).gather(1, columns), exchange(similarity).gather(1, columns)


def _logits_of(bank: BankShard, scores: Tensor, rows: Tensor) -> Tensor:
    """Return ``(Q, K, C)`` float32 logits, 0 where masked; each row is fetched once."""
    mask = scores > -torch.inf
    chosen, places = rows[mask].unique(return_inverse=True)
    logits = torch.zeros((*rows.shape, bank.num_classes), device=rows.device)
    logits[mask] = fetch_rows(bank, bank.part.logits, chosen)[places].float()
    return logits
