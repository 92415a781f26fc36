"""A teacher's memory: its banks by level, asked in a step and fed after it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.banks.queue_bank import QueueBank
from mmickd.banks.ranks import Bank, gather_samples
from mmickd.banks.shard import BankShard
from mmickd.retrieval.base import BaseRetriever
from mmickd.retrieval.sharded import ShardedRetriever
from mmickd.retrieval.stored_query import StoredQuery
from mmickd.structures import Context, Samples
from mmickd.utils.copying import copy_with_state
from mmickd.utils.errors import ICKDError
from mmickd.utils.timing import Stopwatch


class Memory:
    """A teacher's banks by level.

    Args:
        banks: by level; empty if nobody ever retrieves. Queues are fed with what is asked.
        retriever: finds rows in them.
        device: where queries and banks lie.
        exclude_same_id: leave out rows of the query's own image.
        asks_by_stored: replace the queries' features by the bank's own of the same image.

    Example:
        >>> from mmickd.retrieval import TorchRetriever
        >>> memory = Memory({"image": QueueBank(2, 4, 3)}, TorchRetriever())
        >>> ids, labels = torch.tensor([7]), torch.tensor([0])
        >>> seen = Samples(torch.eye(3)[:1], torch.zeros(1, 2), labels, ids)
        >>> bool(memory.query("image", seen, 1, 1)[0].has_rows), memory.feed()
        (False, None)
        >>> int(memory.banks["image"].counts.sum())
        1
    """

    def __init__(
        self,
        banks: Mapping[str, Bank | QueueBank],
        retriever: BaseRetriever,
        device: torch.device | str = "cpu",
        exclude_same_id: bool = True,
        asks_by_stored: bool = False,
    ) -> None:
        self.banks = dict(banks)
        self._retriever, self._exclude_same_id = retriever, exclude_same_id
        self._dealt = ShardedRetriever(retriever)
        self._stored = {
            level: StoredQuery(bank)
            for level, bank in self.banks.items()
            if asks_by_stored and isinstance(bank, MemoryBank)
        }
        self._seen: dict[str, Samples] = {}
        self._device = torch.device(device)
        self._stopwatch = Stopwatch(self._device)

    def query(
        self, level: str, query: Samples, num_positives: int | None, num_negatives: int
    ) -> tuple[Context, Context]:
        """Positives and negatives, see :meth:`mmickd.retrieval.BaseRetriever.search`.

        More than the bank can give is not asked for: no more columns of positives than its largest
        class has rows, no more of negatives than it has itself. The queries are remembered for
        :meth:`feed`.
        """
        self._seen[level] = query
        bank = self.banks.get(level)
        if bank is None or (num_positives == 0 and num_negatives == 0):
            return Context.empty(query.logits), Context.empty(query.logits)
        if num_positives is not None:
            num_positives = min(num_positives, bank.max_class_size)
        num_negatives = min(num_negatives, len(bank))
        if level in self._stored:
            query = self._stored[level](query)
        retriever: Any = self._dealt if isinstance(bank, BankShard) else self._retriever
        with self._stopwatch.timed():
            return retriever.search(
                bank, query, num_positives, num_negatives, self._exclude_same_id
            )

    def apart(self) -> Memory:
        """Return a memory over the same banks whose searches leave this one as it is.

        Its retriever is a copy with the state (random generators, counters) of now, and it has a
        clock and queries of its own.
        """
        banks = self.banks.values()
        tensors = [x for bank in banks for x in vars(bank).values() if isinstance(x, Tensor)]
        made = copy.copy(self)
        made._retriever = copy_with_state(self._retriever, [*banks, *tensors])
        made._dealt = ShardedRetriever(made._retriever)
        made._seen, made._stopwatch = {}, Stopwatch(self._device)
        return made

    def feed(self) -> None:
        """Append to the queues what all ranks have asked in this step, on every rank the same."""
        for level, bank in self._queues.items():
            if level in self._seen:
                bank.push(gather_samples(self._seen[level])[0])
        self._seen = {}

    def seconds(self) -> float:
        """Time that searching took since the last call."""
        return self._stopwatch.collect()

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """The queues by level, on the CPU; a frozen bank is built again."""
        return {
            level: {name: rows.cpu() for name, rows in bank.state_dict().items()}
            for level, bank in self._queues.items()
        }

    def load_state_dict(self, state: Mapping[str, dict[str, Tensor]], begin: str = "") -> None:
        """Take over what :meth:`state_dict` gave.

        Args:
            state: the queues by name, perhaps among others.
            begin: of their names, before the level.

        Raises:
            ICKDError: if a queue is missing, or of another size.
        """
        for level, bank in self._queues.items():
            try:
                bank.load_state_dict(state.get(begin + level, {}))
            except ValueError as error:
                raise ICKDError(
                    f"the resumed checkpoint holds another {begin}{level} queue ({error}). Resume "
                    "with the config that it was trained with."
                ) from error

    @property
    def _queues(self) -> dict[str, QueueBank]:
        return {level: b for level, b in self.banks.items() if isinstance(b, QueueBank)}
