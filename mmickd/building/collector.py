"""Collection of the rows of a bank in any order, with limited memory."""

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
"""Rows above a class's capacity are removed whenever the rows have grown by 1 / SLACK."""


class RowCollector:
    """Collector of rows, image by image; a class keeps the ``capacity`` rows of smallest keys.

    All operations on the rows are in place or in chunks, so that no row is in memory twice.

    Args:
        num_classes: ``C``.
        capacity: Rows per class; None keeps all.
        dtype: Dtype of stored features and logits.
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
        """Return the number of rows in memory."""
        return len(self._logits)

    def add(self, samples: Samples, keys: Tensor) -> None:
        """Add rows and their ``(R,)`` sampling keys, from any device."""
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
        """Return the bank of all ranks' rows on rank 0, None on the others; empties the collector.

        The bank is the same for any number of ranks. Every rank must have called :meth:`add`, if
        only without rows.

        Raises:
            ValueError: If :meth:`add` was never called.
        """
        if self._features is None:
            raise ValueError("RowCollector.add must be called before finish")
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
        # Within a class rows are sorted by image.
        order = order[torch.argsort(ids[order], stable=True)]
        order = order[torch.argsort(labels[order], stable=True)]
        features, logits = (rows for rows in joined if rows is not None)
        reorder(features, order)
        reorder(logits, order)
        samples = Samples(features, logits, labels[order], ids[order])
        return MemoryBank.from_sorted(samples, self.num_classes)

    def _prune(self) -> None:
        """Remove all rows but those of the smallest keys of each class."""
        numbers = torch.cat(self._numbers)
        self._numbers = [numbers]
        if self.capacity is not None:
            self._keep(_smallest(numbers, self.num_classes, self.capacity))

    def _choose(self) -> Tensor | None:
        """Keep this rank's rows of the bank; return all labels, ids and keys on rank 0, else None.

        The rows are sent only afterwards, so rank 0 never has more rows than the bank.
        """
        counts, numbers = gather_number(len(self)), self._numbers[0]
        all_numbers = gather_rows_on_main(
            numbers.split(rows_per_chunk(numbers.shape, numbers.dtype)), counts, (3,), torch.long
        )
        if self.capacity is None or len(counts) == 1:
            return all_numbers
        kept = None
        if all_numbers is not None:
            kept = _smallest(all_numbers, self.num_classes, self.capacity)
        kept = broadcast_object(kept)
        begin = sum(counts[: dist.get_rank()])
        self._keep(kept[(kept >= begin) & (kept < begin + len(self))] - begin)
        return None if all_numbers is None else all_numbers[kept]

    def _keep(self, rows: Tensor) -> None:
        """Remove all but ``rows``, which are in rising order."""
        if len(rows) < len(self):
            assert self._features is not None
            self._features.keep(rows)
            self._logits.keep(rows)
            self._numbers = [self._numbers[0][rows]]


def _smallest(numbers: Tensor, num_classes: int, count: int) -> Tensor:
    """Return the rows, rising, with the smallest keys of ``(R, 3)`` labels, ids and keys."""
    return smallest_per_class(numbers[:, 0], numbers[:, 2], num_classes, count).sort().values
