"""Exact retrieval by searching slices of a bank that is sorted by class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mmickd.banks.exclusion import same_image
from mmickd.banks.memory_bank import MemoryBank
from mmickd.retrieval.base import SearchResult, masked_topk
from mmickd.structures import Samples


class Search(Protocol):
    """Exact search for the nearest rows of a slice."""

    device: torch.device

    def blocks(self, bank: MemoryBank, queries: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row of each block of the bank, and its features on ``device``."""

    def nearest(self, queries: Tensor, rows: Tensor, k: int) -> SearchResult:
        """Return scores of the top ``k`` of ``rows (m, D)``, ``k <= m``, and places in ``rows``."""


@dataclass
class ClassQueries:
    """The queries of one class.

    Attributes:
        index: ``(q,)`` int64; places of the queries in the batch.
        features: ``(q, D)`` float32, on the search's device.
        ids: ``(q,)`` int64; images of the queries.
        own_rows: ``(q, R)`` int64 on the CPU; bank rows of these images, padded with -1.
        begin: First row of the class in the bank.
        end: Row after the last row of the class.
    """

    index: Tensor
    features: Tensor
    ids: Tensor
    own_rows: Tensor
    begin: int
    end: int


def topk_by_slices(
    bank: MemoryBank, query: Samples, num_positives: int, num_negatives: int, search: Search
) -> tuple[SearchResult, SearchResult]:
    """Search for the queries of each class in its slice, and in the two slices around it.

    Positives come from ``[begin, end)``, negatives from ``[0, begin)`` and ``[end, M)``, so no row
    is filtered by its class. The search retrieves as many more rows as the slice has of the
    query's own image, before these are filtered; so no row can be missing.

    Args:
        bank: Bank of ``M`` rows.
        query: ``Q`` queries with float32 features, as for :meth:`BaseRetriever.topk`.
        num_positives: ``K``.
        num_negatives: ``N``.
        search: Search for the nearest rows of a slice.

    Returns:
        See :meth:`BaseRetriever.topk`.
    """
    positives, negatives = _empty_result(query, num_positives), _empty_result(query, num_negatives)
    groups = list(_by_class(bank, query, search.device))
    for start, block in search.blocks(bank, query.features) if groups else ():
        for group in groups:
            around = [(0, group.begin), (group.end, len(bank))]
            for result, slices in ((positives, [(group.begin, group.end)]), (negatives, around)):
                for begin, end in slices:
                    begin, end = max(begin, start), min(end, start + len(block))
                    if begin < end and result[0].shape[1]:
                        rows = block[begin - start : end - start]
                        _merge(result, group, rows, begin, bank.ids, search)
    return positives, negatives


def _merge(
    result: SearchResult, group: ClassQueries, rows: Tensor, begin: int, ids: Tensor, search: Search
) -> None:
    """Merge the nearest rows of a slice into the result, in place.

    Args:
        result: ``(Q, k)`` scores and bank rows.
        group: Queries to search for.
        rows: ``(m, D)`` features of the slice.
        begin: First row of the slice in the bank.
        ids: ``(M,)`` int64; image of each row of the bank.
        search: Search for the nearest rows.
    """
    is_inside = (group.own_rows >= begin) & (group.own_rows < begin + len(rows))
    k = result[0].shape[1]
    depth = min(k + int(is_inside.sum(dim=1).max()), len(rows))
    nearest = search.nearest(group.features, rows, depth)
    scores, places = (t.to(ids.device) for t in nearest)
    places = places + begin
    scores = scores.masked_fill(same_image(ids[places], group.ids), -torch.inf)
    scores = torch.cat([result[0][group.index], scores], dim=1)
    places = torch.cat([result[1][group.index], places], dim=1)
    result[0][group.index], result[1][group.index] = masked_topk(scores, places, k)


def _by_class(bank: MemoryBank, query: Samples, device: torch.device) -> Iterator[ClassQueries]:
    """Yield the queries of each class of the batch; queries with a label below 0 are left out."""
    rows, is_row = bank.rows_of_images(query.ids)
    own_rows = rows.masked_fill(~is_row, -1).cpu()
    features, labels = query.features.detach().to(device).contiguous(), query.labels.cpu()
    offsets = bank.offsets.tolist()
    for label in labels[labels >= 0].unique().tolist():
        index = (labels == label).nonzero()[:, 0]
        on_bank = index.to(query.labels.device)
        part = features[index.to(device)], query.ids[on_bank], own_rows[index]
        yield ClassQueries(on_bank, *part, offsets[label], offsets[label + 1])


def _empty_result(query: Samples, k: int) -> SearchResult:
    """Return the result of queries for which no row is retrieved."""
    shape = (len(query), k)
    scores = torch.full(shape, -torch.inf, device=query.labels.device)
    return scores, torch.zeros(shape, dtype=torch.long, device=query.labels.device)
