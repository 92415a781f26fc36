"""Exact retrieval by faiss, on the CPU or on a GPU."""

from __future__ import annotations

from typing import Any

import torch

from mmickd.banks.memory_bank import MemoryBank
from mmickd.registry import RETRIEVERS
from mmickd.retrieval.base import BaseRetriever, SearchResult
from mmickd.retrieval.faiss_search import CpuSearch, GpuSearch, Search, topk_by_slices
from mmickd.structures import Samples
from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.validation import check_integer


@RETRIEVERS.register_module()
class FaissRetriever(BaseRetriever):
    """Exact retrieval by faiss' brute-force search, with the results of :class:`TorchRetriever`.

    This second implementation verifies :class:`TorchRetriever`. A class is one slice of the bank:
    positives are searched in the slice of the query's class, negatives in the two slices around it
    (:mod:`mmickd.retrieval.faiss_search`).

    The search on a GPU needs ``faiss-gpu``; it has not been tested on a GPU yet.

    Args:
        gpu: None searches on the CPU: a bank on a GPU is copied to the CPU once, the queries in
            every step. 'auto' searches on the bank's device, or on the CPU if faiss has no GPU. A
            number searches on that GPU; a bank on another device is copied to it once.
        growth: No effect, kept for old configs; at least 2.

    Raises:
        ICKDError: If faiss is not installed, or an option is out of range.

    Example:
        >>> FaissRetriever(growth=1)
        Traceback (most recent call last):
            ...
        mmickd.utils.errors.OptionError: growth=1: it must be an integer of at least 2.
    """

    def __init__(self, gpu: int | str | None = None, growth: int = 4) -> None:
        check_integer(growth, 2, "growth")
        try:
            import faiss
        except ImportError as error:
            raise ICKDError(
                "FaissRetriever needs faiss, which is not installed: pip install 'mmickd[faiss]' "
                "(or 'mmickd[faiss-gpu]'), or use TorchRetriever."
            ) from error
        has_gpu = hasattr(faiss, "StandardGpuResources")
        gpus = faiss.get_num_gpus() if has_gpu else 0
        if gpu is not None and gpu != "auto":
            _check_gpu(gpu, gpus, has_gpu)
        self.gpu, self.growth = gpu, growth
        self._gpus = gpus
        self._searches: dict[torch.device, Search] = {}

    def topk(
        self, bank: MemoryBank, query: Samples, num_positives: int, num_negatives: int
    ) -> tuple[SearchResult, SearchResult]:
        """See :meth:`BaseRetriever.topk`."""
        search = self._search(self._device(bank.device))
        return topk_by_slices(bank, query, num_positives, num_negatives, search)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without faiss' resources and kept features, which copies make again."""
        return {**vars(self), "_searches": {}}

    def _device(self, bank_device: torch.device) -> torch.device:
        """Return the device of the search in a bank on ``bank_device``."""
        if self.gpu == "auto" and self._gpus and bank_device.type == "cuda":
            return bank_device
        return torch.device("cuda", self.gpu) if isinstance(self.gpu, int) else CpuSearch.device

    def _search(self, device: torch.device) -> Search:
        if device not in self._searches:
            if device.type == "cpu":
                self._searches[device] = CpuSearch()
            else:
                index = torch.cuda.current_device() if device.index is None else device.index
                self._searches[device] = GpuSearch(torch.device("cuda", index))
        return self._searches[device]


def _check_gpu(gpu: Any, gpus: int, has_gpu: bool) -> None:
    """Raise ``OptionError`` unless the value is the number of a GPU that faiss can use."""
    if isinstance(gpu, bool) or not isinstance(gpu, int) or gpu < 0:
        raise OptionError("gpu", gpu, "it must be None, 'auto' or the number of a GPU.")
    otherwise = "Use gpu=None, which searches on the CPU, or TorchRetriever."
    if not has_gpu:
        reason = "the installed faiss has no GPU support: install 'mmickd[faiss-gpu]' in place of "
        raise OptionError("gpu", gpu, f"{reason}faiss-cpu. {otherwise}")
    if gpu >= gpus:
        raise OptionError("gpu", gpu, f"faiss has {gpus} GPUs, numbered from 0. {otherwise}")
