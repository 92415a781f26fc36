"""Collecting the rows of a bank, with a bound on memory and no dependence on their order."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.sampling import smallest_per_class
from mmickd.structures import Samples
from mmickd.utils.distributed import gather_rows_on_main

PRUNE_FACTOR = 4
"""Rows held before a class is cut to its capacity, as a multiple of all capacities together."""


class RowCollector:
    """Rows that stream in from images; each class keeps its ``capacity`` smallest keys.

    Args:
        num_classes: ``C``.
        capacity: rows per class; None keeps all.
        dtype: of stored features and logits.
    """

    def __init__(self, num_classes: int, capacity: int | None, dtype: torch.dtype) -> None:
        self.num_classes = num_classes
        self.capacity = capacity
        self.dtype = dtype
        self._parts: list[Samples] = []
        self._keys: list[Tensor] = []
        self._held = 0

    def add(self, samples: Samples, keys: Tensor) -> None:
        """Take rows and their ``(R,)`` sampling keys, from any device."""
        self._parts.append(
            Samples(
                samples.features.to("cpu", self.dtype),
                samples.logits.to("cpu", self.dtype),
                samples.labels.cpu(),
                samples.ids.cpu(),
            )
        )
        self._keys.append(keys.cpu())
        self._held += len(samples)
        if self.capacity and self._held > PRUNE_FACTOR * self.capacity * self.num_classes:
            self._prune()

    def finish(self) -> MemoryBank | None:
        """The bank of all ranks' rows on rank 0, the same for every number of ranks; else None.

        Every rank must have collected something before, or :meth:`add` an empty part.
        """
        self._prune()
        gathered = [gather_rows_on_main(getattr(self._parts[0], n)) for n in Samples.names()]
        keys = gather_rows_on_main(self._keys[0])
        if keys is None:
            return None
        samples = Samples(*(rows for rows in gathered if rows is not None))
        order = smallest_per_class(samples.labels, keys, self.num_classes, self.capacity)
        # Inside a class by image, so that the bank reads like the data set.
        order = order[torch.argsort(samples.ids[order], stable=True)]
        return MemoryBank(samples[order], self.num_classes)

    def _prune(self) -> None:
        samples, keys = Samples.cat(self._parts), torch.cat(self._keys)
        keep = smallest_per_class(samples.labels, keys, self.num_classes, self.capacity)
        self._parts, self._keys = [samples[keep]], [keys[keep]]
        self._held = len(keep)
