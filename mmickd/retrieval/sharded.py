"""Retrieval from a bank that is dealt to all ranks."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import Tensor

from mmickd.banks.ranks import gather_samples
from mmickd.banks.shard import BankShard
from mmickd.retrieval.base import BaseRetriever, askable, masked_topk, to_context
from mmickd.structures import Context, Samples


class ShardedRetriever:
    """Asks every rank for its best rows, and keeps the best of those.

    The answer is that of the whole bank on one rank, up to the rounding of a matrix product of
    another shape. All ranks search together; each brings queries of its own, any number of them.

    Each step, with ``Q`` queries of all ranks together: the queries go to every rank, ``Q K``
    similarities and row numbers come back from each, and then the logits of the rows that were
    chosen, each once. The sizes of these messages are read by the host, which a bank in one piece
    does not need.

    Args:
        local: finds the best rows among a rank's own.
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
        query = askable(query, exclude_same_id)
        nothing = query.features.new_empty((len(query), 0))  # nobody needs their own logits
        query = Samples(query.features, nothing, query.labels, query.ids)
        asked, sizes = gather_samples(query)
        with torch.autocast(query.features.device.type, enabled=False):
            found = self._local.topk(bank.part, asked, num_positives, num_negatives)
            similarities = [self._local.similarity(bank.part, asked, *pair) for pair in found]
        best = [
            _best_of_all(scores, bank.rows_in_bank(rows), similarity, sizes, len(query))
            for (scores, rows), similarity in zip(found, similarities, strict=True)
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
    """Rows of the whole bank, from the ranks that hold them.

    Args:
        bank: this rank's part.
        source: ``(m, ...)``; of that part, the tensor to read from.
        rows: ``(R,)`` int64; rows of the whole bank that this rank wants.

    Returns:
        ``(R, ...)`` of the dtype of ``source``.
    """
    owners = rows % bank.world_size
    order = owners.argsort()
    wanted = torch.bincount(owners, minlength=bank.world_size)
    given = torch.empty_like(wanted)
    torch_dist.all_to_all_single(given, wanted)
    wanted_sizes, given_sizes = torch.stack([wanted, given]).tolist()
    asked = rows.new_empty(sum(given_sizes))
    torch_dist.all_to_all_single(asked, rows[order] // bank.world_size, given_sizes, wanted_sizes)
    received = source.new_empty((len(rows), *source.shape[1:]))
    torch_dist.all_to_all_single(received, source[asked], wanted_sizes, given_sizes)
    return torch.empty_like(received).index_copy_(0, order, received)


def _best_of_all(
    scores: Tensor, rows: Tensor, similarity: Tensor | None, sizes: list[int], own: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The best rows of this rank's queries, of what all ranks found for all queries.

    Args:
        scores: ``(Q_0 + Q_1 + ..., k)``; what this rank found for the queries of all.
        rows: the same shape; rows of the whole bank.
        similarity: the same shape; None where the scores are the similarities.
        sizes: queries of each rank.
        own: queries of this rank.

    Returns:
        ``(own, k)`` scores, rows, and similarities or None.
    """
    k, world_size = scores.shape[1], len(sizes)

    def exchanged(answers: Tensor) -> Tensor:
        received = answers.new_empty((world_size * own, k))
        torch_dist.all_to_all_single(received, answers.contiguous(), [own] * world_size, sizes)
        return received.view(world_size, own, k).transpose(0, 1).reshape(own, world_size * k)

    if similarity is None:
        return *masked_topk(exchanged(scores), exchanged(rows), k), None
    best, columns = masked_topk(exchanged(scores), None, k)
    return best, exchanged(rows).gather(1, columns), exchanged(similarity).gather(1, columns)


def _logits_of(bank: BankShard, scores: Tensor, rows: Tensor) -> Tensor:
    """``(Q, K, C)`` float32, 0 where masked; a row that many chose travels once."""
    mask = scores > -torch.inf
    chosen, places = rows[mask].unique(return_inverse=True)
    logits = torch.zeros((*rows.shape, bank.num_classes), device=rows.device)
    logits[mask] = fetch_rows(bank, bank.part.logits, chosen)[places].float()
    return logits
