"""The moving memory bank of the online and teacher-free paradigms."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mmickd.banks.exclusion import same_image
from mmickd.structures import NO_ID, Samples


class QueueBank:
    """The latest rows of each class: a ring of bounded size per class, oldest out first.

    Slots of class ``c`` are ``c * capacity .. (c + 1) * capacity``. Nothing is ever read from a
    slot that was not written. Rows are in float32: they are few, and change with every step.

    Args:
        num_classes: ``C``.
        capacity: slots per class ``S``.
        width: ``D`` of the features.
        device: where the rows lie.

    Raises:
        ValueError: if a size is below 1.

    Attributes:
        features (Tensor): ``(C * S, D)``; 0 where empty.
        logits (Tensor): ``(C * S, C)``; 0 where empty.
        labels (Tensor): ``(C * S,)`` int64; the class of each slot, filled or not.
        ids (Tensor): ``(C * S,)`` int64; -1 where empty.
        counts (Tensor): ``(C,)`` int64; filled slots of each class.
        heads (Tensor): ``(C,)`` int64; the slot of each class that is written next.
        num_classes (int): ``C``.
        max_class_size (int): ``S``.
        is_queue (bool): True: training appends rows.
        is_sharded (bool): False: all rows are on this rank.

    Example:
        >>> queue = QueueBank(num_classes=2, capacity=4, width=3)
        >>> labels, ids = torch.tensor([1, 1, 0]), torch.tensor([5, 6, 7])
        >>> queue.push(Samples(torch.eye(3), torch.zeros(3, 2), labels, ids))
        >>> queue.counts.tolist(), queue.ids[4:6].tolist()
        ([1, 2], [5, 6])
    """

    is_queue: Literal[True] = True
    is_sharded: Literal[False] = False

    def __init__(
        self, num_classes: int, capacity: int, width: int, device: torch.device | str = "cpu"
    ) -> None:
        if min(num_classes, capacity, width) < 1:
            raise ValueError(
                "num_classes, capacity and width must be at least 1, "
                f"got {num_classes}, {capacity} and {width}"
            )
        self.num_classes, self.max_class_size = num_classes, capacity
        slots = num_classes * capacity
        # One slot more than is ever read: what is not kept is written there.
        self._store = {
            "features": torch.zeros(slots + 1, width, device=device),
            "logits": torch.zeros(slots + 1, num_classes, device=device),
            "ids": torch.full((slots + 1,), NO_ID, device=device),
        }
        self.features, self.logits, self.ids = (rows[:slots] for rows in self._store.values())
        self.labels = torch.arange(num_classes, device=device).repeat_interleave(capacity)
        self.counts = torch.zeros(num_classes, dtype=torch.long, device=device)
        self.heads = torch.zeros_like(self.counts)

    def __len__(self) -> int:
        """Slots, filled or not."""
        return self.features.shape[0]

    def __repr__(self) -> str:
        return (
            f"QueueBank({int(self.counts.sum())} of {len(self)} rows: {self.max_class_size} for "
            f"each of {self.num_classes} classes, {self.features.shape[1]} features)"
        )

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self.features.device

    @property
    def nbytes(self) -> int:
        """Bytes of all slots."""
        return sum(t.numel() * t.element_size() for t in self.state_dict().values())

    @torch.no_grad()
    def push(self, samples: Samples) -> None:
        """Append rows in their order; of a class that gets more than it holds, the last ones stay.

        No host synchronisation.

        Args:
            samples: ``(Q, ...)`` on the bank's device; rows with a label below 0 are left out.
        """
        labels, capacity = samples.labels, self.max_class_size
        wanted = labels >= 0
        # one more class takes what is left out
        classes = torch.where(wanted, labels, self.num_classes)
        member = torch.nn.functional.one_hot(classes, self.num_classes + 1)
        sizes = member.sum(dim=0)
        place = (member.cumsum(dim=0) - 1).gather(1, classes[:, None])[:, 0]
        lasting = wanted & (place >= sizes[classes] - capacity)
        own = classes.clamp(max=self.num_classes - 1)
        slots = own * capacity + (self.heads[own] + place) % capacity
        # Of the rows that fall into one slot only the last one lasts: no two writes differ.
        target = torch.where(lasting, slots, len(self))
        for name, rows in self._store.items():
            rows[target] = getattr(samples, name).to(rows.dtype)
        arrived = sizes[: self.num_classes]
        self.heads.copy_((self.heads + arrived) % capacity)
        self.counts.copy_((self.counts + arrived).clamp(max=capacity))

    def rows_of_class(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The slots of each class, and which of them are filled.

        Args:
            labels: ``(Q,)`` int64; a label below 0 has no rows.

        Returns:
            ``(Q, S)`` int64 rows and bool mask.
        """
        slots = torch.arange(self.max_class_size, device=labels.device)
        own = labels.clamp(min=0)
        filled = torch.where(labels >= 0, self.counts[own], 0)
        return own[:, None] * self.max_class_size + slots, slots < filled[:, None]

    def leave_out(self, similarity: Tensor, ids: Tensor) -> None:
        """Mask empty slots and the queries' own images, in place.

        Args:
            similarity: ``(Q, C * S)``.
            ids: ``(Q,)`` int64.
        """
        slots = torch.arange(self.max_class_size, device=self.device)
        similarity.masked_fill_((slots >= self.counts[:, None]).flatten(), -torch.inf)
        similarity.masked_fill_(same_image(self.ids, ids), -torch.inf)

    def blocks(self, size: int) -> list[tuple[int, QueueBank]]:
        """The queue in one piece: its few rows are in float32 already."""
        return [(0, self)]

    def state_dict(self) -> dict[str, Tensor]:
        """All that a later :meth:`load_state_dict` needs to go on as if nothing had happened."""
        names = ("features", "logits", "ids", "counts", "heads")
        return {name: getattr(self, name) for name in names}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over a saved state.

        Raises:
            ValueError: if it is of another number of classes, capacity or width, or holds what no
                queue can.
        """
        for name, own in self.state_dict().items():
            found, wanted = _form(state.get(name)), _form(own)
            if found != wanted:
                raise ValueError(f"the queue's {name} are {found}, {wanted} is wanted")
        counts, heads, size = state["counts"], state["heads"], self.max_class_size
        in_range = (counts >= 0) & (counts <= size) & (heads >= 0) & (heads < size)
        numbers = state["features"], state["logits"]
        if not in_range.all() or not all(rows.isfinite().all() for rows in numbers):
            raise ValueError("the queue's rows or counts are impossible")
        for name, own in self.state_dict().items():
            own.copy_(state[name])


def _form(value: Any) -> str:
    """Shape and type of a tensor, else the name of what it is."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return "missing" if value is None else f"a {type(value).__name__}"
