"""Work on the rows of tensors that are too large for a second copy."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mmickd.utils.distributed import rows_per_chunk

CHECKED_ROWS = 2**12
"""Rows that are looked through for NaN at once."""
COLUMN_SHARE = 32
"""One part in so many of a tensor is put into another order at once; all of it, if it is small."""


class GrowingRows:
    """A ``(R, W)`` tensor that grows at its end, in blocks that are given back one by one.

    Growing copies nothing. A block is large enough that the system gets its memory back at once,
    which it does not of small tensors.

    Args:
        width: ``W``.
        dtype: of the rows.

    Example:
        >>> rows = GrowingRows(width=2, dtype=torch.float16)
        >>> rows.append(torch.eye(2))
        >>> rows.append(torch.zeros(1, 2))
        >>> rows.keep(torch.tensor([0, 2]))
        >>> [block.tolist() for block in rows.drain()], len(rows)
        ([[[1.0, 0.0], [0.0, 0.0]]], 0)
    """

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        self.width, self._dtype = width, dtype
        self.rows_per_block = rows_per_chunk((0, width), dtype)
        self._blocks: list[Tensor] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, rows: Tensor) -> None:
        """Take ``(r, W)`` rows, from any device and of any floating dtype."""
        while len(rows):
            place = self._count % self.rows_per_block
            if not place:
                block = torch.empty(self.rows_per_block, self.width, dtype=self._dtype)
                self._blocks.append(block)
            taken = rows[: self.rows_per_block - place]
            self._blocks[-1][place : place + len(taken)] = taken
            self._count += len(taken)
            rows = rows[len(taken) :]

    def keep(self, rows: Tensor) -> None:
        """Leave out all but ``rows``, in place.

        Args:
            rows: ``(R',)`` int64, rising.
        """
        size = self.rows_per_block
        # A row moves towards the beginning or stays: what is overwritten was moved before.
        for target, wanted in zip(self._blocks, rows.split(size), strict=False):
            moved = torch.empty_like(target[: len(wanted)])
            for number in (wanted // size).unique_consecutive().tolist():
                here = wanted // size == number
                moved[here] = self._blocks[number][wanted[here] - number * size]
            target[: len(wanted)] = moved
        self._count = len(rows)
        del self._blocks[-(-self._count // size) :]

    def drain(self) -> Iterator[Tensor]:
        """The rows, block by block; each is forgotten here when the next one is asked for."""
        while self._blocks:
            block = self._blocks.pop(0)[: self._count]
            self._count -= len(block)
            yield block


def reorder(rows: Tensor, order: Tensor) -> None:
    """``rows[order]`` in place, some columns at a time.

    Args:
        rows: ``(R, W)``.
        order: ``(R,)`` int64, a permutation.

    Example:
        >>> rows = torch.tensor([[1, 2], [3, 4], [5, 6]])
        >>> reorder(rows, torch.tensor([2, 0, 1]))
        >>> rows.tolist()
        [[5, 6], [1, 2], [3, 4]]
    """
    at_once = max(rows.shape[1] // COLUMN_SHARE, rows_per_chunk((0, len(rows)), rows.dtype))
    for columns in rows.split(at_once, dim=1):
        columns.copy_(columns.index_select(0, order))


def is_finite(values: Tensor) -> bool:
    """Whether no row of fp16 or fp32 values holds NaN or Inf, several times faster than isfinite.

    These are the numbers whose exponent has all its bits set.

    Example:
        >>> is_finite(torch.ones(3, 2)), is_finite(torch.tensor([1.0, float("inf")]).half())
        (True, False)
    """
    half = values.dtype == torch.float16
    bits, exponent = (torch.int16, 0x7C00) if half else (torch.int32, 0x7F800000)
    parts = values.view(bits).split(CHECKED_ROWS)
    return all(bool(((part & exponent) != exponent).all()) for part in parts)
