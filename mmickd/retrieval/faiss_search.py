"""Brute-force search by faiss: one class for the CPU, one for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.retrieval.base import SearchResult, masked_topk

BLOCK_ELEMENTS = 2**25
"""Features, or similarities, that are in float32 at once on a GPU: 128 MiB."""
DEEPEST_ON_GPU = 2048
"""Largest ``k`` of faiss' selection on a GPU."""
TEMP_BYTES = 2**29
"""Memory that faiss reserves on a GPU; more than one product of 512 queries and 78,000 rows."""

Knn = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""Top ``k`` of the inner products of queries ``(Q, D)`` and rows ``(m, D)``: scores, places."""


class CpuSearch:
    """Search on the CPU. The bank's features are kept in float32 as long as the bank exists."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[MemoryBank, Tensor] = WeakKeyDictionary()

    def blocks(self, bank: MemoryBank, queries: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row and the features of the whole bank."""
        if bank not in self._kept:
            self._kept[bank] = bank.features.float().cpu()
        yield 0, self._kept[bank]

    def nearest(self, queries: Tensor, rows: Tensor, k: int) -> SearchResult:
        """Return the top ``k`` of ``rows``; see :data:`Knn`."""
        import faiss

        product, default = faiss.METRIC_INNER_PRODUCT, faiss.cvar.distance_compute_blas_threshold
        # Since faiss 1.15 the threshold counts queries times width. BLAS is faster from 4 queries
        # on, for 64 queries ten times.
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

    Args:
        device: Device of the search; a bank on another device is copied there once.
        knn: Exact search for at most :data:`DEEPEST_ON_GPU` rows on that device.
    """

    def __init__(self, device: torch.device, knn: Knn) -> None:
        self.device, self._knn = device, knn
        self._kept: WeakKeyDictionary[MemoryBank, Tensor] = WeakKeyDictionary()

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
        """Return the top ``k`` of ``rows``; see :data:`Knn`. Any ``k`` is allowed."""
        if k > DEEPEST_ON_GPU:
            return nearest_by_product(queries, rows, k)
        return without_missing(*self._knn(queries.to(rows.dtype), rows, k))


class GpuKnn:
    """:data:`Knn` by ``faiss.knn_gpu`` on torch's current stream, without copies.

    It has not been run on a GPU yet. It uses no selector, which faiss' flat index on a GPU ignores.

    Args:
        index: Number of the GPU.
    """

    def __init__(self, index: int) -> None:
        import faiss
        import faiss.contrib.torch_utils  # lets faiss accept torch's tensors

        self._faiss, self._index = faiss, index
        with torch.cuda.device(index):
            self._resources = faiss.StandardGpuResources()
            self._resources.setTempMemory(TEMP_BYTES)

    def __call__(self, queries: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See :data:`Knn`."""
        product = self._faiss.METRIC_INNER_PRODUCT
        with torch.cuda.device(self._index):  # faiss uses the current stream of this device
            scores, places = self._faiss.knn_gpu(
                self._resources, queries, rows, k, metric=product, device=self._index
            )
        return scores, places


def nearest_by_product(queries: Tensor, rows: Tensor, k: int) -> SearchResult:
    """Return the top ``k`` of ``rows`` for any ``k``, by torch, block by block.

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
