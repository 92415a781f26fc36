"""Memory of a teacher: its banks by level."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.queue_bank import QueueBank
from mmickd.banks.ranks import FrozenBank, gather_samples
from mmickd.retrieval.base import BaseRetriever
from mmickd.retrieval.sharded import ShardedRetriever
from mmickd.sampling import keyed_hash
from mmickd.structures import Context, Samples
from mmickd.utils.copying import copy_with_state
from mmickd.utils.errors import ICKDError


class Memory:
    """Banks of a teacher by level, with the retriever that searches them.

    Args:
        banks: Banks by level; empty if no loss retrieves.
        retriever: Retriever for all levels.
        exclude_same_id: True leaves out the rows of a query's image.
        query_by_stored: True replaces the features of a query by the features of the same image in
            a frozen bank.

    Example:
        >>> from mmickd.retrieval import TorchRetriever
        >>> memory = Memory({"image": QueueBank(2, 4, 3)}, TorchRetriever())
        >>> ids, labels = torch.tensor([7]), torch.tensor([0])
        >>> rows = Samples(torch.eye(3)[:1], torch.zeros(1, 2), labels, ids)
        >>> positives, negatives = memory.query("image", rows, 1, 1)
        >>> memory.stage("image", rows)
        >>> memory.feed()
        >>> bool(positives.has_rows), int(memory.banks["image"].counts.sum())
        (False, 1)
    """

    def __init__(
        self,
        banks: Mapping[str, FrozenBank | QueueBank],
        retriever: BaseRetriever,
        exclude_same_id: bool = True,
        query_by_stored: bool = False,
    ) -> None:
        self.banks = dict(banks)
        self._retriever, self._exclude_same_id = retriever, exclude_same_id
        self._stored = {
            level: StoredFeatures(bank)
            for level, bank in self.banks.items()
            if query_by_stored and not (bank.is_queue or bank.is_sharded)
        }
        self._staged: dict[str, Samples] = {}

    def query(
        self, level: str, query: Samples, num_positives: int | None, num_negatives: int
    ) -> tuple[Context, Context]:
        """Return positives and negatives; see :meth:`mmickd.retrieval.BaseRetriever.search`.

        The bank limits the columns: positives have at most as many columns as its largest class has
        rows, negatives at most as many as the bank has rows.
        """
        bank = self.banks.get(level)
        if bank is None or (num_positives == 0 and num_negatives == 0):
            return Context.empty(query.logits), Context.empty(query.logits)
        if num_positives is not None:
            num_positives = min(num_positives, bank.max_class_size)
        num_negatives = min(num_negatives, len(bank))
        if level in self._stored:
            query = self._stored[level].replace_in(query)
        retriever: Any = self._retriever
        if bank.is_sharded:
            retriever = ShardedRetriever(retriever)
        return retriever.search(bank, query, num_positives, num_negatives, self._exclude_same_id)

    def stage(self, level: str, rows: Samples) -> None:
        """Set the rows that the next :meth:`feed` appends to the queue of a level."""
        self._staged[level] = rows

    def feed(self) -> None:
        """Append the staged rows of all ranks to the queues, in the same order on every rank."""
        for level, queue in self.queues.items():
            if level in self._staged:
                queue.push(gather_samples(self._staged[level])[0])
        self._staged = {}

    def copy(self) -> Memory:
        """Return a memory over the same banks, with a copy of the retriever and its state."""
        banks = self.banks.values()
        tensors = [x for bank in banks for x in vars(bank).values() if isinstance(x, Tensor)]
        memory = copy.copy(self)
        memory._retriever = copy_with_state(self._retriever, [*banks, *tensors])
        memory._staged = {}
        return memory

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return the queues by level, on the CPU; frozen banks are not saved, but built again."""
        return {
            level: {name: rows.cpu() for name, rows in queue.state_dict().items()}
            for level, queue in self.queues.items()
        }

    def load_state_dict(self, state: Mapping[str, dict[str, Tensor]], prefix: str = "") -> None:
        """Load the queues of :meth:`state_dict`.

        Args:
            state: State of each queue by ``prefix`` and level; other entries are ignored.
            prefix: Beginning of the names of this memory's queues.

        Raises:
            ICKDError: If a queue is missing or has another size.
        """
        for level, queue in self.queues.items():
            try:
                queue.load_state_dict(state.get(prefix + level, {}))
            except ValueError as error:
                raise ICKDError(
                    f"the resumed checkpoint holds another {prefix}{level} queue ({error}). Resume "
                    "with the config that it was trained with."
                ) from error

    @property
    def queues(self) -> dict[str, QueueBank]:
        """Queues by level; empty if the banks are frozen."""
        return {level: bank for level, bank in self.banks.items() if bank.is_queue}


class StoredFeatures:
    """Features of a bank's images, which replace features of queries of the same image and class.

    So the neighbours of an image are the same in every epoch. (Our choice.)

    Args:
        bank: Bank of a level with one row per image (and class): 'image' or 'region'.
    """

    def __init__(self, bank: MemoryBank) -> None:
        self._features = bank.features
        self._keys, self._rows = keyed_hash(0, bank.ids, bank.labels).sort()

    def replace_in(self, query: Samples) -> Samples:
        """Return the queries with stored features; a query without a row keeps its features."""
        keys = keyed_hash(0, query.ids, query.labels)
        at = torch.searchsorted(self._keys, keys).clamp(max=len(self._keys) - 1)
        has_row = (self._keys[at] == keys) & (query.ids >= 0) & (query.labels >= 0)
        stored = self._features[self._rows[at]].to(query.features.dtype)
        features = torch.where(has_row[:, None], stored, query.features)
        return Samples(features, query.logits, query.labels, query.ids)
