"""The frozen memory bank of the offline paradigm."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.structures import Samples


class MemoryBank:
    """Teacher features and logits of the training set, sorted by class and never changed.

    Rows of one class are one slice, ``offsets[c]:offsets[c + 1]``; inside a class they keep the
    order in which they came.

    Args:
        samples: the rows, in any order; every label in ``[0, num_classes)``.
        num_classes: number of classes ``C``; a class may have no row.

    Raises:
        ValueError: if a label lies outside the classes, or the logits have another width.

    Attributes:
        features (Tensor): ``(M, D)``, L2-normalised, fp16 or fp32.
        logits (Tensor): ``(M, C)``.
        labels (Tensor): ``(M,)`` int64, rising.
        ids (Tensor): ``(M,)`` int64; the image of each row.
        offsets (Tensor): ``(C + 1,)`` int64.
        num_classes (int): ``C``.
        max_class_size (int): rows of the largest class.
        max_image_size (int): rows of the image that has most.
    """

    def __init__(self, samples: Samples, num_classes: int) -> None:
        labels = samples.labels
        if samples.logits.shape[1] != num_classes:
            raise ValueError(
                f"logits have {samples.logits.shape[1]} columns for num_classes={num_classes}"
            )
        if len(samples) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
            raise ValueError(
                f"bank labels must lie in [0, {num_classes}), "
                f"got {int(labels.min())}..{int(labels.max())}"
            )
        rows = samples[torch.argsort(labels, stable=True)]
        counts = torch.bincount(labels, minlength=num_classes)
        self.features = rows.features.contiguous()
        self.logits = rows.logits.contiguous()
        self.labels = rows.labels.contiguous()
        self.ids = rows.ids.contiguous()
        self.offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.num_classes = num_classes
        self.max_class_size = int(counts.max()) if num_classes else 0
        # Rows by image, for leaving out a query's own without comparing it to every row.
        known = (self.ids >= 0).nonzero()[:, 0]
        self._images, order = self.ids[known].sort(stable=True)
        self._rows_by_image = known[order]
        sizes = self._images.unique_consecutive(return_counts=True)[1]
        self.max_image_size = int(sizes.max()) if len(sizes) else 0

    def __len__(self) -> int:
        return self.features.shape[0]

    def __repr__(self) -> str:
        used = int((self.offsets.diff() > 0).sum())
        width, dtype = self.features.shape[1], str(self.features.dtype).removeprefix("torch.")
        return (
            f"MemoryBank({len(self)} rows of {used}/{self.num_classes} classes, "
            f"{width} {dtype} features, {self.nbytes / 2**20:.1f} MiB)"
        )

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self.features.device

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        tensors: tuple[Tensor, ...] = (self.features, self.logits, self.labels, self.ids)
        return sum(t.numel() * t.element_size() for t in tensors)

    @property
    def samples(self) -> Samples:
        """The rows as one :class:`Samples`, sorted by class."""
        return Samples(self.features, self.logits, self.labels, self.ids)

    def rows_of_class(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of each class.

        Args:
            labels: ``(Q,)`` int64; a label below 0 has no rows.

        Returns:
            ``(Q, max_class_size)`` int64 rows and bool mask. Slots beyond the last row repeat it.
        """
        own = labels.clamp(min=0)
        begin = self.offsets[own]
        end = torch.where(labels >= 0, self.offsets[own + 1], begin)
        return _slots(begin, end, self.max_class_size)

    def rows_of_image(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of each image.

        Args:
            ids: ``(Q,)`` int64; an id below 0 has no rows.

        Returns:
            ``(Q, max_image_size)`` int64 rows and bool mask. Slots beyond the last row repeat it.
        """
        begin = torch.searchsorted(self._images, ids)
        end = torch.searchsorted(self._images, ids, right=True)
        places, found = _slots(begin, end, self.max_image_size)
        return self._rows_by_image[places] if places.numel() else places, found

    def leave_out(self, similarity: Tensor, ids: Tensor | None) -> None:
        """Mask the queries' own images, in place.

        Args:
            similarity: ``(Q, M)``.
            ids: ``(Q,)`` int64; None masks nothing.
        """
        if ids is not None:
            mask_rows(similarity, *self.rows_of_image(ids))

    def to(self, device: torch.device | str) -> MemoryBank:
        """The same bank on ``device``; itself where it lies there already."""
        if torch.device(device) == self.device:
            return self
        return MemoryBank(self.samples.to(device), self.num_classes)


def _slots(begin: Tensor, end: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """``begin[i] .. end[i]`` as ``(Q, width)`` places and which of them are inside."""
    places = begin[:, None] + torch.arange(width, device=begin.device)
    found = places < end[:, None]
    return torch.minimum(places, end[:, None] - 1).clamp(min=0), found


def mask_rows(similarity: Tensor, rows: Tensor, found: Tensor) -> None:
    """Mask the given rows of each query, in place.

    Args:
        similarity: ``(Q, M)``, to be masked.
        rows: ``(Q, R)``; slots that are not found repeat a found one, if there is any.
        found: ``(Q, R)`` bool.
    """
    kept = similarity.gather(1, rows)
    # All slots of a query that has rows name such rows, so writing twice writes the same.
    similarity.scatter_(1, rows, kept.masked_fill_(found.any(dim=1, keepdim=True), -torch.inf))
