"""The frozen memory bank of the offline paradigm."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmickd.banks.exclusion import ImageIndex, mask_rows, slots_between
from mmickd.structures import Samples


class MemoryBank:
    """Teacher features and logits of the training set, sorted by class and never changed.

    Rows of one class are one slice, ``offsets[c]:offsets[c + 1]``; within a class they keep the
    order of ``samples``.

    Args:
        samples: Rows in any order; every label is in ``[0, num_classes)``.
        num_classes: Number of classes ``C``; a class may have no rows.

    Raises:
        ValueError: If a label lies outside the classes, or the logits have another width.

    Attributes:
        features (Tensor): ``(M, D)``, L2-normalised, fp16 or fp32.
        logits (Tensor): ``(M, C)``.
        labels (Tensor): ``(M,)`` int64, rising.
        ids (Tensor): ``(M,)`` int64; the image of each row.
        offsets (Tensor): ``(C + 1,)`` int64.
        num_classes (int): ``C``.
        max_class_size (int): Rows of the largest class.
        is_queue (bool): False: training does not change the rows.
        is_sharded (bool): False: all rows are on this rank.

    Example:
        >>> labels, ids = torch.tensor([1, 0, 1]), torch.tensor([5, 6, 7])
        >>> bank = MemoryBank(Samples(torch.eye(3), torch.zeros(3, 2), labels, ids), num_classes=2)
        >>> bank.labels.tolist(), bank.ids.tolist(), bank.offsets.tolist()
        ([0, 1, 1], [6, 5, 7], [0, 1, 3])
    """

    is_queue: Literal[False] = False
    is_sharded: Literal[False] = False

    def __init__(self, samples: Samples, num_classes: int) -> None:
        self._set_rows(samples[torch.argsort(samples.labels, stable=True)], num_classes)

    @classmethod
    def from_sorted(cls, samples: Samples, num_classes: int) -> MemoryBank:
        """Return a bank of rows that are sorted by class; they are not copied.

        Args:
            samples: Rows sorted by class.
            num_classes: ``C``.

        Raises:
            ValueError: As the constructor, or if the labels are not sorted.

        Example:
            >>> rows = Samples(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), torch.arange(2))
            >>> MemoryBank.from_sorted(rows, num_classes=2).features is rows.features
            True
        """
        if not bool((samples.labels.diff() >= 0).all()):
            raise ValueError("the labels of the rows are not sorted")
        bank = cls.__new__(cls)
        bank._set_rows(samples, num_classes)
        return bank

    def _set_rows(self, rows: Samples, num_classes: int) -> None:
        labels = rows.labels
        if rows.logits.shape[1] != num_classes:
            raise ValueError(
                f"logits have {rows.logits.shape[1]} columns for num_classes={num_classes}"
            )
        if len(rows) and not (int(labels[0]) >= 0 and int(labels[-1]) < num_classes):
            raise ValueError(
                f"bank labels must lie in [0, {num_classes}), "
                f"got {int(labels[0])}..{int(labels[-1])}"
            )
        counts = torch.bincount(labels, minlength=num_classes)
        self.features = rows.features.contiguous()
        self.logits = rows.logits.contiguous()
        self.labels = labels.contiguous()
        self.ids = rows.ids.contiguous()
        self.offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.num_classes = num_classes
        self.max_class_size = int(counts.max()) if num_classes else 0
        self._images = ImageIndex(self.ids)

    def __len__(self) -> int:
        return self.features.shape[0]

    def __repr__(self) -> str:
        classes = int((self.offsets.diff() > 0).sum())
        width, dtype = self.features.shape[1], str(self.features.dtype).removeprefix("torch.")
        return (
            f"MemoryBank({len(self)} rows of {classes}/{self.num_classes} classes, "
            f"{width} {dtype} features, {self.nbytes / 2**20:.1f} MiB)"
        )

    @property
    def device(self) -> torch.device:
        """Device of the rows."""
        return self.features.device

    @property
    def nbytes(self) -> int:
        """Size of all rows in bytes."""
        return sum(getattr(self, name).nbytes for name in Samples.names())

    @property
    def samples(self) -> Samples:
        """All rows as one :class:`Samples`, sorted by class."""
        return Samples(self.features, self.logits, self.labels, self.ids)

    def rows_of_class(
        self, labels: Tensor, begin: int = 0, size: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the rows of each class, of the whole bank or of ``m`` consecutive rows.

        Args:
            labels: ``(Q,)`` int64; a label below 0 has no rows.
            begin: First of the consecutive rows; the returned rows count from it.
            size: Number ``m`` of the consecutive rows; None: all.

        Returns:
            ``(Q, S)`` int64 rows and a bool mask; ``S`` is the size of the largest class, or ``m``.
            Masked slots repeat the last row.
        """
        size = len(self) if size is None else size
        classes = labels.clamp(min=0)
        first, last = (
            self.offsets[at].clamp(begin, begin + size) - begin for at in (classes, classes + 1)
        )
        last = torch.where(labels >= 0, last, first)
        return slots_between(first, last, min(self.max_class_size, size))

    def leave_out(self, similarity: Tensor, ids: Tensor, begin: int = 0) -> None:
        """Set the similarity of rows of the query's image to -inf, in place.

        Args:
            similarity: ``(Q, m)``; similarities of ``m`` consecutive rows.
            ids: ``(Q,)`` int64; the image of each query.
            begin: First of these rows.
        """
        rows, is_row = self.rows_of_images(ids)
        size = similarity.shape[1]
        if size < len(self):
            # The rows of an image rise, so its rows in this range are consecutive.
            first, last = ((is_row & (rows < at)).sum(dim=1) for at in (begin, begin + size))
            slots, is_row = slots_between(first, last, rows.shape[1])
            rows = (rows.gather(1, slots) - begin).clamp(0, size - 1)
        mask_rows(similarity, rows, is_row)

    def rows_of_images(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of each image.

        Args:
            ids: ``(Q,)`` int64; an unknown image (below 0) has no rows.

        Returns:
            ``(Q, R)`` int64 rows and a bool mask; ``R`` is the number of rows of the image with
            the most rows.
        """
        return self._images.rows_of(ids)

    def to(self, device: torch.device | str) -> MemoryBank:
        """Return the same bank on ``device``; this object if it is on ``device`` already."""
        if torch.device(device) == self.device:
            return self
        return MemoryBank.from_sorted(self.samples.to(device), self.num_classes)
