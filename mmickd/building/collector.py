"""Collecting the rows of a bank, with a bound on memory and no dependence on their order."""

from __future__ import annotations

import torch
from mmengine import dist
from torch import Tensor

from mmickd.banks.chunked_rows import GrowingRows, reorder
from mmickd.banks.memory_bank import MemoryBank
from mmickd.sampling import smallest_per_class
from mmickd.structures import Samples
from mmickd.utils.distributed import (
    broadcast_object,
    gather_number,
    gather_rows_on_main,
    rows_per_chunk,
)

SLACK = 8
"""Classes are cut to their capacity when an eighth more rows came than were left last time."""


class RowCollector:
    """Rows that stream in from images; each class keeps its ``capacity`` smallest keys.

    Whatever is done with the rows is done in place, or piece by piece: they are never held twice.

    Args:
        num_classes: ``C``.
        capacity: rows per class; None keeps all.
        dtype: of stored features and logits.
    """

    def __init__(self, num_classes: int, capacity: int | None, dtype: torch.dtype) -> None:
        self.num_classes = num_classes
        self.capacity = capacity
        self.dtype = dtype
        self._features: GrowingRows | None = None
        self._logits = GrowingRows(num_classes, dtype)
        self._numbers: list[Tensor] = []
        self._limit = 0

    def __len__(self) -> int:
        """Rows that are held now."""
        return len(self._logits)

    def add(self, samples: Samples, keys: Tensor) -> None:
        """Take rows and their ``(R,)`` sampling keys, from any device."""
        if self._features is None:
            self._features = GrowingRows(samples.features.shape[1], self.dtype)
            self._limit = self._features.rows_per_block
        self._features.append(samples.features)
        self._logits.append(samples.logits)
        self._numbers.append(torch.stack([samples.labels, samples.ids, keys], dim=1).cpu())
        if self.capacity is not None and len(self) > self._limit:
            self._prune()
            self._limit = len(self) + len(self) // SLACK + self._features.rows_per_block

    def finish(self) -> MemoryBank | None:
        """The bank of all ranks' rows on rank 0, the same for every number of ranks; else None.

        Every rank must have collected something before, or :meth:`add` an empty part. The
        collector is empty afterwards.

        Raises:
            ValueError: if nothing was added at all.
        """
        if self._features is None:
            raise ValueError("RowCollector needs at least one part")
        self._prune()
        numbers = self._choose()
        counts = gather_number(len(self))
        joined = [
            gather_rows_on_main(rows.drain(), counts, (rows.width,), self.dtype)
            for rows in (self._features, self._logits)
        ]
        if numbers is None:
            return None
        labels, ids, keys = numbers.T.contiguous()
        order = smallest_per_class(labels, keys, self.num_classes, None)
        # Inside a class by image, so that the bank reads like the data set.
        order = order[torch.argsort(ids[order], stable=True)]
        order = order[torch.argsort(labels[order], stable=True)]
        features, logits = (rows for rows in joined if rows is not None)
        reorder(features, order)
        reorder(logits, order)
        samples = Samples(features, logits, labels[order], ids[order])
        return MemoryBank.from_sorted(samples, self.num_classes)

    def _prune(self) -> None:
        """Leave out what cannot be among the smallest keys."""
        numbers = torch.cat(self._numbers)
        self._numbers = [numbers]
        if self.capacity is not None:
            self._keep(_smallest(numbers, self.num_classes, self.capacity))

    def _choose(self) -> Tensor | None:
        """Leave out what the rows of other ranks displace; labels, ids and keys of all on rank 0.

        The rows themselves travel only after that: rank 0 never holds more of them than the bank.
        """
        counts, numbers = gather_number(len(self)), self._numbers[0]
        every = gather_rows_on_main(
            numbers.split(rows_per_chunk(numbers.shape, numbers.dtype)), counts, (3,), torch.long
        )
        if self.capacity is None or len(counts) == 1:
            return every
        kept = None if every is None else _smallest(every, self.num_classes, self.capacity)
        kept = broadcast_object(kept)
        begin = sum(counts[: dist.get_rank()])
        own = kept[(kept >= begin) & (kept < begin + len(self))] - begin
        self._keep(own)
        return None if every is None else every[kept]

    def _keep(self, rows: Tensor) -> None:
        """Leave out all but ``rows``, which rise."""
        if len(rows) < len(self):
            assert self._features is not None
            self._features.keep(rows)
            self._logits.keep(rows)
            self._numbers = [self._numbers[0][rows]]


def _smallest(numbers: Tensor, num_classes: int, count: int) -> Tensor:
    """Rising rows of ``(R, 3)`` labels, ids and keys that hold the smallest keys of their class."""
    return smallest_per_class(numbers[:, 0], numbers[:, 2], num_classes, count).sort().values
