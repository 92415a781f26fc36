"""Exact retrieval by faiss, which searches slices of a bank that is sorted by class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mmickd.banks.exclusion import same_image
from mmickd.banks.memory_bank import MemoryBank
from mmickd.retrieval.base import SearchResult, masked_topk
from mmickd.structures import Samples

BLOCK_ELEMENTS = 2**25
"""Maximum number of features, or of similarities, in float32 on a GPU: 128 MiB."""
MAX_K_ON_GPU = 2048
"""Largest ``k`` of faiss' selection on a GPU."""
TEMP_BYTES = 2**29
"""Memory that faiss reserves on a GPU, enough for the product of 512 queries and 78,000 rows."""


class CpuSearch:
    """Search on the CPU; it keeps the bank's features in float32 as long as the bank exists."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[MemoryBank, Tensor] = WeakKeyDictionary()

    def blocks(self, bank: MemoryBank, queries: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row and the features of the whole bank."""
        if bank not in self._kept:
            self._kept[bank] = bank.features.float().cpu()
        yield 0, self._kept[bank]

    def nearest(self, queries: Tensor, rows: Tensor, k: int) -> SearchResult:
        """Return scores of the top ``k`` of ``rows (m, D)``, ``k <= m``, and places in ``rows``."""
        import faiss

        product, default = faiss.METRIC_INNER_PRODUCT, faiss.cvar.distance_compute_blas_threshold
        # Since faiss 1.15 the unit of the threshold is queries times width. BLAS is faster from 4
        # queries on; for 64 queries it is ten times as fast.
        faiss.cvar.distance_compute_blas_threshold = min(default, 4 * rows.shape[1])
        try:
            scores, places = faiss.knn(queries.numpy(), rows.numpy(), k, metric=product)
        finally:
            faiss.cvar.distance_compute_blas_threshold = default
        return without_missing(torch.from_numpy(scores), torch.from_numpy(places))


class GpuSearch:
    """Search on one GPU, without a copy if the bank is on that GPU.

    faiss needs queries and rows of the same dtype. If rounding the queries to fp16 would change
    them, a bank in fp16 is converted to float32 block by block, so that the results are exact.

    The search uses torch's current stream. It uses no selector, as faiss' flat index on a GPU
    ignores selectors. It has not been tested on a GPU yet.

    Args:
        device: Device of the search; a bank on another device is copied there once.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._kept: WeakKeyDictionary[MemoryBank, Tensor] = WeakKeyDictionary()
        self._resources: Any = None

    def blocks(self, bank: MemoryBank, queries: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row and the features of each block.

        Args:
            bank: Bank of ``M`` rows.
            queries: ``(Q, D)`` float32; if they can be fp16, a bank in fp16 is not converted.
        """
        if bank not in self._kept:
            self._kept[bank] = bank.features.to(self.device)
        features = self._kept[bank]
        is_exact = torch.equal(queries.to(features.dtype).float(), queries)
        if features.dtype == torch.float32 or (features.dtype == torch.float16 and is_exact):
            yield 0, features
            return
        size = max(1, BLOCK_ELEMENTS // max(1, features.shape[1]))
        for begin in range(0, len(features), size):
            yield begin, features[begin : begin + size].float()

    def nearest(self, queries: Tensor, rows: Tensor, k: int) -> SearchResult:
        """See :meth:`CpuSearch.nearest`; any ``k`` is allowed."""
        if k > MAX_K_ON_GPU:
            return nearest_by_product(queries, rows, k)
        return without_missing(*self._knn(queries.to(rows.dtype), rows, k))

    def _knn(self, queries: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return scores and places of at most :data:`MAX_K_ON_GPU` rows, by faiss."""
        import faiss
        import faiss.contrib.torch_utils  # lets faiss accept torch's tensors

        index, product = self.device.index, faiss.METRIC_INNER_PRODUCT
        with torch.cuda.device(index):  # faiss uses the current stream of this device
            if self._resources is None:
                self._resources = faiss.StandardGpuResources()
                self._resources.setTempMemory(TEMP_BYTES)
            scores, places = faiss.knn_gpu(
                self._resources, queries, rows, k, metric=product, device=index
            )
        return scores, places


Search = CpuSearch | GpuSearch


def nearest_by_product(queries: Tensor, rows: Tensor, k: int) -> SearchResult:
    """Return the top ``k`` of ``rows``, for any ``k``; torch computes them block by block.

    Args:
        queries: ``(Q, D)`` float32.
        rows: ``(m, D)`` fp16 or float32.
        k: Number of rows, at most ``m``.

    Returns:
        ``(Q, k)`` scores in float32 and places in ``rows``.
    """
    size = max(1, BLOCK_ELEMENTS // max(1, *queries.shape))
    best: SearchResult | None = None
    for begin in range(0, len(rows), size):
        scores = queries @ rows[begin : begin + size].float().T
        places = torch.arange(begin, begin + scores.shape[1], device=rows.device)
        places = places.expand(scores.shape)
        if best is not None:
            scores, places = torch.cat([best[0], scores], 1), torch.cat([best[1], places], 1)
        best = masked_topk(scores, places, min(k, scores.shape[1]))
    assert best is not None
    return best


def without_missing(scores: Tensor, places: Tensor) -> SearchResult:
    """Mask the entries that faiss leaves empty (place -1), as it does for NaN.

    Example:
        >>> scores, places = torch.tensor([[0.5, -3e38]]), torch.tensor([[2, -1]])
        >>> without_missing(scores, places)
        (tensor([[0.5000,   -inf]]), tensor([[2, 0]]))
    """
    return scores.masked_fill(places < 0, -torch.inf), places.clamp(min=0)


@dataclass
class ClassQueries:
    """Queries of one class.

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
    bank: MemoryBank,
    query: Samples,
    num_positives: int,
    num_negatives: int,
    search: Search,
) -> tuple[SearchResult, SearchResult]:
    """Search for the queries of each class in its slice, and in the two slices around it.

    Positives come from ``[begin, end)``, negatives from ``[0, begin)`` and ``[end, M)``, so no row
    is filtered by its class. For each row of the query's image in a slice the search retrieves one
    more row, and these rows are filtered afterwards; so no row is missing.

    For arguments and result see :meth:`BaseRetriever.topk`.
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
    result: SearchResult,
    group: ClassQueries,
    rows: Tensor,
    begin: int,
    ids: Tensor,
    search: Search,
) -> None:
    """Merge the nearest of ``rows (m, D)``, a slice that begins at ``begin``, into the result.

    The result is changed in place; ``ids (M,)`` are the images of the bank's rows.
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
