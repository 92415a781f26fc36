"""Rows of the right classes at random: the control of retrieval itself."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.registry import RETRIEVERS
from mmickd.retrieval.base import Found, masked_topk
from mmickd.retrieval.torch_retriever import TorchRetriever
from mmickd.structures import Samples
from mmickd.utils.validation import check_integer


@RETRIEVERS.register_module()
class RandomRetriever(TorchRetriever):
    """A context that is wrong on purpose: what is similar is not looked for.

    Positives are drawn from the query's class and negatives from the others, uniformly, anew at
    every search; their similarity is the true one. What a method gains with it, it does not owe to
    retrieval. The run's own random numbers stay as they are; a resumed run
    begins the draws anew. Of a bank that is dealt to the ranks
    (``bank.shard``) each rank draws, and the most similar of the draws are kept.

    Args:
        seed: of the draws.
        chunk_size: as for :class:`TorchRetriever`.

    Raises:
        ICKDError: if ``seed`` is below 0 or ``chunk_size`` below 1.

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

    def topk(
        self, bank: MemoryBank, query: Samples, num_positives: int, num_negatives: int
    ) -> tuple[Found, Found]:
        """See :meth:`BaseRetriever.topk`."""
        positives, negatives = super().topk(bank, query, num_positives, num_negatives)
        return _by_similarity(bank, query, *positives), _by_similarity(bank, query, *negatives)

    def scores(self, queries: Tensor, features: Tensor) -> Tensor:
        """Lots, uniform in [0, 1)."""
        device = features.device
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        shape = len(queries), len(features)
        return torch.rand(shape, generator=self._generators[device], device=device)


def _by_similarity(bank: MemoryBank, query: Samples, lots: Tensor, rows: Tensor) -> Found:
    """What was drawn, with its true similarity."""
    drawn = lots > -torch.inf
    found = bank.features[rows.masked_fill(~drawn, 0)].float() if len(bank) else lots[..., None]
    similarity = (query.features[:, None] * found).sum(-1).masked_fill(~drawn, -torch.inf)
    return masked_topk(similarity, rows, rows.shape[1])
