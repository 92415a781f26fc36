"""Memory of a teacher: its banks by level."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmickd.banks.queue_bank import QueueBank
from mmickd.banks.ranks import FrozenBank, gather_samples
from mmickd.retrieval.base import BaseRetriever
from mmickd.retrieval.sharded import ShardedRetriever
from mmickd.retrieval.stored_query import StoredQuery
from mmickd.structures import Context, Samples
from mmickd.utils.copying import copy_with_state
from mmickd.utils.errors import ICKDError


class Memory:
    """Banks of a teacher by level, with the retriever that searches them.

    Args:
        banks: Banks by level; empty if no loss retrieves.
        retriever: Retriever for all levels.
        exclude_same_id: True leaves out the rows of a query's own image.
        query_by_stored: True replaces the features of a query by those that a frozen bank holds
            of the same image.

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
            level: StoredQuery(bank)
            for level, bank in self.banks.items()
            if query_by_stored and not (bank.is_queue or bank.is_sharded)
        }
        self._staged: dict[str, Samples] = {}

    def query(
        self, level: str, query: Samples, num_positives: int | None, num_negatives: int
    ) -> tuple[Context, Context]:
        """Return positives and negatives; see :meth:`mmickd.retrieval.BaseRetriever.search`.

        They have no more columns than the bank can fill: positives at most the rows of its largest
        class, negatives at most its rows.
        """
        bank = self.banks.get(level)
        if bank is None or (num_positives == 0 and num_negatives == 0):
            return Context.empty(query.logits), Context.empty(query.logits)
        if num_positives is not None:
            num_positives = min(num_positives, bank.max_class_size)
        num_negatives = min(num_negatives, len(bank))
        if level in self._stored:
            query = self._stored[level](query)
        retriever: Any = self._retriever
        if bank.is_sharded:
            retriever = ShardedRetriever(retriever)
        return retriever.search(bank, query, num_positives, num_negatives, self._exclude_same_id)

    def stage(self, level: str, rows: Samples) -> None:
        """Set the rows that the next :meth:`feed` appends to the queue of a level."""
        self._staged[level] = rows

    def feed(self) -> None:
        """Append the staged rows of all ranks to the queues, in the same order on every rank."""
        for level, queue in self._queues.items():
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
        """Return the queues by level, on the CPU; a frozen bank is built again instead."""
        return {
            level: {name: rows.cpu() for name, rows in queue.state_dict().items()}
            for level, queue in self._queues.items()
        }

    def load_state_dict(self, state: Mapping[str, dict[str, Tensor]], prefix: str = "") -> None:
        """Load the queues of :meth:`state_dict`.

        Args:
            state: State of each queue by ``prefix`` and level; other entries are ignored.
            prefix: Beginning of the names of this memory's queues.

        Raises:
            ICKDError: if a queue is missing, or of another size.
        """
        for level, queue in self._queues.items():
            try:
                queue.load_state_dict(state.get(prefix + level, {}))
            except ValueError as error:
                raise ICKDError(
                    f"the resumed checkpoint holds another {prefix}{level} queue ({error}). Resume "
                    "with the config that it was trained with."
                ) from error

    @property
    def _queues(self) -> dict[str, QueueBank]:
        return {level: bank for level, bank in self.banks.items() if bank.is_queue}
