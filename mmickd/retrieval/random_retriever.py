"""Retriever that draws rows at random, as a control of retrieval."""

from __future__ import annotations

import torch
from mmengine import dist
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.registry import RETRIEVERS
from mmickd.retrieval.torch_retriever import TorchRetriever
from mmickd.structures import Samples
from mmickd.utils.validation import check_integer

RANK_STRIDE = 1_000_003
"""Distance between the seeds of two ranks, so that they draw different numbers. (Torch's CPU
generator uses only the lower 32 bits of a seed.)"""


@RETRIEVERS.register_module()
class RandomRetriever(TorchRetriever):
    """Retriever that draws rows at random, as a control of retrieval.

    Positives are drawn uniformly from the query's class and negatives from the other classes, with
    new draws at every search. The score of a row is a random number; its similarity is the cosine
    similarity. So a loss that needs fewer rows gets a random subset of them, and a loss that takes
    rows of any class (:class:`~mmickd.losses.ContextKDLoss`) gets a uniform draw from the whole
    bank (:func:`~mmickd.losses.base.nearest_rows`). If a method improves as much with this
    retriever, the improvement does not come from retrieval. The run's random state is not used; a
    resumed run begins the draws anew.

    Args:
        seed: Seed of the draws.
        chunk_size: See :class:`TorchRetriever`.

    Raises:
        ICKDError: If ``seed`` is below 0 or ``chunk_size`` below 1.

    Example:
        >>> features, labels = torch.eye(4), torch.tensor([0, 0, 0, 1])
        >>> rows = Samples(features, torch.zeros(4, 2), labels, ids=torch.arange(4))
        >>> positives, _ = RandomRetriever().search(MemoryBank(rows, 2), rows[:1], 2, 0)
        >>> sorted(positives.indices[0].tolist())
        [1, 2]
    """

    def __init__(self, seed: int = 0, chunk_size: int | None = None) -> None:
        super().__init__(chunk_size)
        check_integer(seed, 0, "seed")
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def similarity(
        self, bank: MemoryBank, query: Samples, scores: Tensor, rows: Tensor
    ) -> Tensor | None:
        """See :meth:`BaseRetriever.similarity`."""
        if not len(bank):
            return scores
        drawn = bank.features[rows.masked_fill(scores == -torch.inf, 0)].float()
        return (query.features[:, None] * drawn).sum(-1)

    def scores(self, queries: Tensor, features: Tensor) -> Tensor:
        """Return random numbers, uniform in [0, 1)."""
        device = features.device
        if device not in self._generators:
            seed = self._seed + RANK_STRIDE * dist.get_rank()
            self._generators[device] = torch.Generator(device).manual_seed(seed)
        shape = len(queries), len(features)
        return torch.rand(shape, generator=self._generators[device], device=device)
