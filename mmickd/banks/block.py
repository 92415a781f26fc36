"""A stretch of a memory bank's rows, searched like a bank of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.banks.exclusion import ImageIndex, mask_rows, slots_between


class BankBlock:
    """Rows of a bank from ``begin`` on; what it says of rows counts from there.

    It copies nothing, and making it does not wait for the device.

    Args:
        features: ``(m, D)``, those rows of the bank.
        begin: the first of them.
        offsets: ``(C + 1,)`` int64, of the bank.
        max_class_size: of the bank.
        images: of the bank.
    """

    def __init__(
        self,
        features: Tensor,
        begin: int,
        offsets: Tensor,
        max_class_size: int,
        images: ImageIndex,
    ) -> None:
        self.features = features
        self._begin, self._end = begin, begin + len(features)
        self._offsets, self._images = offsets, images
        self._width = min(max_class_size, len(features))

    def rows_of_class(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The block's rows of each class.

        Args:
            labels: ``(Q,)`` int64; a label below 0 has no rows.

        Returns:
            Int64 rows and bool mask, as many columns as one class can have rows here. Slots beyond
            the last row repeat it.
        """
        own = labels.clamp(min=0)
        begin, end = (
            self._offsets[at].clamp(self._begin, self._end) - self._begin for at in (own, own + 1)
        )
        return slots_between(begin, torch.where(labels >= 0, end, begin), self._width)

    def leave_out(self, similarity: Tensor, ids: Tensor) -> None:
        """Mask the queries' own images, in place.

        Args:
            similarity: ``(Q, m)``.
            ids: ``(Q,)`` int64.
        """
        rows, found = self._images.rows_of(ids)
        # The rows of an image rise, so that those of the block are neighbours among them.
        begin, end = ((found & (rows < at)).sum(dim=1) for at in (self._begin, self._end))
        slots, inside = slots_between(begin, end, rows.shape[1])
        own = rows.gather(1, slots) - self._begin
        mask_rows(similarity, own.clamp(0, len(self.features) - 1), inside)
