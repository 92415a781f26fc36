"""Consecutive rows of a memory bank, which are searched like a bank."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.banks.exclusion import ImageIndex, mask_rows, slots_between


class BankBlock:
    """``m`` consecutive rows of a bank; row 0 of the block is row ``begin`` of the bank.

    It copies no rows, and to construct it needs no host synchronisation.

    Args:
        features: ``(m, D)``; features of the rows.
        begin: First row in the bank.
        offsets: ``(C + 1,)`` int64; offsets of the bank.
        max_class_size: Rows of the bank's largest class.
        images: Index of the bank's images.
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
        """See :meth:`mmickd.banks.MemoryBank.rows_of_class`; here rows of the block."""
        classes = labels.clamp(min=0)
        begin, end = (
            self._offsets[at].clamp(self._begin, self._end) - self._begin
            for at in (classes, classes + 1)
        )
        return slots_between(begin, torch.where(labels >= 0, end, begin), self._width)

    def leave_out(self, similarity: Tensor, ids: Tensor) -> None:
        """See :meth:`mmickd.banks.MemoryBank.leave_out`; ``similarity`` is ``(Q, m)``."""
        rows, is_row = self._images.rows_of(ids)
        # The rows of an image rise, so the block's rows are consecutive among them.
        begin, end = ((is_row & (rows < at)).sum(dim=1) for at in (self._begin, self._end))
        slots, is_inside = slots_between(begin, end, rows.shape[1])
        rows = rows.gather(1, slots) - self._begin
        mask_rows(similarity, rows.clamp(0, len(self.features) - 1), is_inside)
