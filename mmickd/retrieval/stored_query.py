"""Queries by what the bank holds of the same image, instead of its augmented view."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.sampling import keyed_hash
from mmickd.structures import Samples


class StoredQuery:
    """Replaces the features of queries by the bank's own row of the same image and class.

    Our choice: with a frozen teacher the neighbours of an image are then the same in every epoch.

    Args:
        bank: of a level with one row per image (and class): 'image' or 'region'.
    """

    def __init__(self, bank: MemoryBank) -> None:
        self._bank = bank
        self._keys, self._rows = keyed_hash(0, bank.ids, bank.labels).sort()

    def __call__(self, query: Samples) -> Samples:
        """The same queries with stored features; a query without a row keeps its own."""
        keys = keyed_hash(0, query.ids, query.labels)
        at = torch.searchsorted(self._keys, keys).clamp(max=len(self._keys) - 1)
        known: Tensor = (self._keys[at] == keys) & (query.ids >= 0) & (query.labels >= 0)
        stored = self._bank.features[self._rows[at]].to(query.features.dtype)
        features = torch.where(known[:, None], stored, query.features)
        return Samples(features, query.logits, query.labels, query.ids)
