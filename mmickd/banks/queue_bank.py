"""The moving memory bank of the online and teacher-free paradigms."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mmickd.banks.exclusion import same_image
from mmickd.structures import NO_ID, Samples


class QueueBank:
    """Ring buffer of the latest rows of each class.

    The slots of class ``c`` are ``c * capacity .. (c + 1) * capacity``. A slot is never read before
    it is written. The rows are in float32, as they are few and change in every step.

    Args:
        num_classes: ``C``.
        capacity: Slots per class ``S``.
        width: Width ``D`` of the features.
        device: Device of the rows.

    Raises:
        ValueError: If a size is below 1.

    Attributes:
        features (Tensor): ``(C * S, D)``; 0 in empty slots.
        logits (Tensor): ``(C * S, C)``; 0 in empty slots.
        labels (Tensor): ``(C * S,)`` int64; the class of each slot, empty or not.
        ids (Tensor): ``(C * S,)`` int64; -1 in empty slots.
        counts (Tensor): ``(C,)`` int64; filled slots of each class.
        heads (Tensor): ``(C,)`` int64; the next slot to write of each class.
        num_classes (int): ``C``.
        max_class_size (int): ``S``.
        is_queue (bool): True: training adds rows.
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
        # The last slot is never read: rows that are not kept are written to it.
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
        """Return the number of slots, empty or not."""
        return self.features.shape[0]

    def __repr__(self) -> str:
        return (
            f"QueueBank({int(self.counts.sum())} of {len(self)} rows: {self.max_class_size} for "
            f"each of {self.num_classes} classes, {self.features.shape[1]} features)"
        )

    @property
    def device(self) -> torch.device:
        """Device of the rows."""
        return self.features.device

    @property
    def nbytes(self) -> int:
        """Size of all slots in bytes."""
        return sum(tensor.nbytes for tensor in self.state_dict().values())

    @torch.no_grad()
    def push(self, samples: Samples) -> None:
        """Append rows in their order, without a host synchronisation.

        If a class gets more rows than it has slots, the last rows stay.

        Args:
            samples: ``(Q, ...)`` on the bank's device; rows with a label below 0 are left out.
        """
        labels, capacity = samples.labels, self.max_class_size
        has_class = labels >= 0
        # Rows that are left out get an additional class.
        classes = torch.where(has_class, labels, self.num_classes)
        member = torch.nn.functional.one_hot(classes, self.num_classes + 1)
        sizes = member.sum(dim=0)
        place = (member.cumsum(dim=0) - 1).gather(1, classes[:, None])[:, 0]
        stays = has_class & (place >= sizes[classes] - capacity)
        classes = classes.clamp(max=self.num_classes - 1)
        slots = classes * capacity + (self.heads[classes] + place) % capacity
        # Only the last of the rows for one slot stays, so no two rows are written to it.
        target = torch.where(stays, slots, len(self))
        for name, rows in self._store.items():
            rows[target] = getattr(samples, name).to(rows.dtype)
        added = sizes[: self.num_classes]
        self.heads.copy_((self.heads + added) % capacity)
        self.counts.copy_((self.counts + added).clamp(max=capacity))

    def rows_of_class(
        self, labels: Tensor, begin: int = 0, size: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the slots of each class, and a mask of the filled ones.

        Args:
            labels: ``(Q,)`` int64; a label below 0 has no rows.
            begin: Always 0: a queue is searched as a whole.
            size: Always all slots.

        Returns:
            ``(Q, S)`` int64 rows and a bool mask.
        """
        slots = torch.arange(self.max_class_size, device=labels.device)
        classes = labels.clamp(min=0)
        counts = torch.where(labels >= 0, self.counts[classes], 0)
        return classes[:, None] * self.max_class_size + slots, slots < counts[:, None]

    def leave_out(self, similarity: Tensor, ids: Tensor, begin: int = 0) -> None:
        """Set the similarity of empty slots and of the query's image to -inf, in place.

        Args:
            similarity: ``(Q, C * S)``.
            ids: ``(Q,)`` int64; the image of each query.
            begin: Always 0.
        """
        slots = torch.arange(self.max_class_size, device=self.device)
        similarity.masked_fill_((slots >= self.counts[:, None]).flatten(), -torch.inf)
        similarity.masked_fill_(same_image(self.ids, ids), -torch.inf)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state for :meth:`load_state_dict`."""
        names = ("features", "logits", "ids", "counts", "heads")
        return {name: getattr(self, name) for name in names}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy a saved state.

        Raises:
            ValueError: If the state has another number of classes, capacity or width, or invalid
                values.
        """
        for name, tensor in self.state_dict().items():
            saved, expected = _describe(state.get(name)), _describe(tensor)
            if saved != expected:
                raise ValueError(f"the queue's {name} are {saved} instead of {expected}")
        counts, heads, size = state["counts"], state["heads"], self.max_class_size
        is_in_range = (counts >= 0) & (counts <= size) & (heads >= 0) & (heads < size)
        numbers = state["features"], state["logits"]
        if not is_in_range.all() or not all(rows.isfinite().all() for rows in numbers):
            raise ValueError("the queue's counts are out of range, or its rows hold NaN or Inf")
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])


def _describe(value: Any) -> str:
    """Return shape and dtype of a tensor, else the name of the value's type."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return "missing" if value is None else f"a {type(value).__name__}"
