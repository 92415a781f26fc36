"""Exact retrieval by faiss, on the CPU or on a GPU."""

from __future__ import annotations

from typing import Any

import torch

from mmickd.banks.memory_bank import MemoryBank
from mmickd.registry import RETRIEVERS
from mmickd.retrieval.base import BaseRetriever, SearchResult
from mmickd.retrieval.faiss_search import CpuSearch, GpuKnn, GpuSearch
from mmickd.retrieval.slices import Search, topk_by_slices
from mmickd.structures import Samples
from mmickd.utils.errors import ICKDError, OptionError
from mmickd.utils.validation import check_integer


@RETRIEVERS.register_module()
class FaissRetriever(BaseRetriever):
    """The answers of :class:`TorchRetriever`, found by faiss' brute-force search.

    A second implementation to check the first by. A class is one slice of the bank: positives are
    searched in the slice of the query's class, negatives in the two slices around it
    (:mod:`mmickd.retrieval.slices`). The search is exact on the CPU and on a GPU.

    The search on a GPU has not been run on one yet. It needs ``faiss-gpu``.

    Args:
        gpu: None searches on the CPU: a bank on a GPU is copied there once, the queries in every
            step. ``'auto'`` searches a bank on a GPU where it lies, and any bank on the CPU where
            faiss has no GPU. A number searches on that GPU; a bank elsewhere is copied there once.
        growth: has no effect since the search by slices; at least 2.

    Raises:
        ICKDError: if faiss is not installed, or an option is out of range.

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
        """Leave out faiss' resources and kept features: copies make their own."""
        return {**vars(self), "_searches": {}}

    def _device(self, bank_device: torch.device) -> torch.device:
        """Return the device of the search in a bank that lies on ``bank_device``."""
        if self.gpu == "auto" and self._gpus and bank_device.type == "cuda":
            return bank_device
        return torch.device("cuda", self.gpu) if isinstance(self.gpu, int) else CpuSearch.device

    def _search(self, device: torch.device) -> Search:
        if device not in self._searches:
            on_cpu = device.type == "cpu"
            self._searches[device] = CpuSearch() if on_cpu else _gpu_search(device)
        return self._searches[device]


def _gpu_search(device: torch.device) -> GpuSearch:
    index = torch.cuda.current_device() if device.index is None else device.index
    return GpuSearch(torch.device("cuda", index), GpuKnn(index))


def _check_gpu(gpu: Any, gpus: int, has_gpu: bool) -> None:
    """Refuse all but the number of a GPU that faiss can search on."""
    if isinstance(gpu, bool) or not isinstance(gpu, int) or gpu < 0:
        raise OptionError("gpu", gpu, "it must be None, 'auto' or the number of a GPU.")
    otherwise = "Use gpu=None, which searches on the CPU, or TorchRetriever."
    if not has_gpu:
        needed = "the installed faiss searches on the CPU only: pip install 'mmickd[faiss-gpu]' in "
        raise OptionError("gpu", gpu, f"{needed}place of faiss-cpu. {otherwise}")
    if gpu >= gpus:
        raise OptionError("gpu", gpu, f"faiss sees {gpus} GPUs, numbered from 0. {otherwise}")
