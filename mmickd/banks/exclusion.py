"""Exclusion of rows that come from the image of the query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmickd.structures import NO_ID

if TYPE_CHECKING:
    from mmickd.banks.memory_bank import MemoryBank


def same_image(row_ids: Tensor, query_ids: Tensor) -> Tensor:
    """Return a mask that is True where a row comes from the query's image.

    Unknown images are never the same.

    Args:
        row_ids: ``(M,)`` or ``(Q, M)`` int64.
        query_ids: ``(Q,)`` int64.

    Returns:
        ``(Q, M)`` bool.

    Example:
        >>> same_image(torch.tensor([7, -1, 8]), torch.tensor([7, -1])).tolist()
        [[True, False, False], [False, False, False]]
    """
    return (row_ids == query_ids[:, None]) & (query_ids > NO_ID)[:, None]


def has_class_neighbour(
    bank: MemoryBank, queries: Tensor, candidates: Tensor, exclude_same_id: bool
) -> Tensor:
    """Return a mask of the rows that can have a neighbour of their class among the candidates.

    All neighbours of the other rows are of other classes, even if the row's label is correct. Such
    rows are the only image of a class, or all pixels of a class that occurs in one image.

    Args:
        bank: Whole bank.
        queries: ``(Q,)`` int64; rows of the bank.
        candidates: ``(V,)`` int64; rows of the bank. A query is not its own neighbour.
        exclude_same_id: True if rows of the query's image are no neighbours.

    Returns:
        ``(Q,)`` bool.

    Example:
        >>> from mmickd.banks import MemoryBank
        >>> from mmickd.structures import Samples
        >>> labels, ids = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([5, 6, 7, 7, 8])
        >>> bank = MemoryBank(Samples(torch.eye(5), torch.eye(5)[:, :3], labels, ids), 3)
        >>> rows = torch.arange(5)
        >>> has_class_neighbour(bank, rows, rows, exclude_same_id=True).tolist()
        [True, True, False, False, False]
        >>> has_class_neighbour(bank, rows, rows, exclude_same_id=False).tolist()
        [True, True, True, True, False]
    """
    labels, ids = bank.labels[queries], bank.ids[queries]
    candidate_labels, candidate_ids = bank.labels[candidates], bank.ids[candidates]
    sizes = torch.bincount(candidate_labels, minlength=bank.num_classes)
    has_other_row = sizes[labels] > torch.isin(queries, candidates).long()
    if not exclude_same_id:
        return has_other_row
    # A class has a second image if its smallest and its largest id are not both the query's.
    largest = torch.iinfo(torch.long).max
    low = torch.full_like(sizes, largest)
    low.scatter_reduce_(0, candidate_labels, candidate_ids, "amin")
    high = torch.full_like(sizes, -largest)
    high.scatter_reduce_(0, candidate_labels, candidate_ids, "amax")
    has_other_image = (low[labels] != ids) | (high[labels] != ids)
    return has_other_row & (has_other_image | (ids == NO_ID))


class ImageIndex:
    """Index of the rows of each image, so that a look-up does not compare every row.

    Args:
        row_ids: ``(M,)`` int64; the image of each row.

    Attributes:
        largest (int): Number of rows of the image with the most rows.

    Example:
        >>> index = ImageIndex(torch.tensor([7, 9, 7]))
        >>> rows, is_row = index.rows_of(torch.tensor([7, 9, 1]))
        >>> is_row.sum(dim=1).tolist(), index.largest
        ([2, 1, 0], 2)
    """

    def __init__(self, row_ids: Tensor) -> None:
        rows = (row_ids > NO_ID).nonzero()[:, 0]
        self._images, order = row_ids[rows].sort(stable=True)
        self._rows = rows[order]
        sizes = self._images.unique_consecutive(return_counts=True)[1]
        self.largest = int(sizes.max()) if len(sizes) else 0

    def rows_of(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of each image.

        Args:
            ids: ``(Q,)`` int64.

        Returns:
            ``(Q, largest)`` int64 rows, rising, and a bool mask. Masked slots repeat the last row.
        """
        ids = ids.contiguous()
        begin = torch.searchsorted(self._images, ids)
        end = torch.searchsorted(self._images, ids, right=True)
        places, is_row = slots_between(begin, end, self.largest)
        return self._rows[places] if places.numel() else places, is_row


def slots_between(begin: Tensor, end: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return the numbers ``begin[i] .. end[i] - 1`` as ``(Q, width)``, and a mask of them.

    Masked slots repeat the last number.
    """
    numbers = begin[:, None] + torch.arange(width, device=begin.device)
    is_inside = numbers < end[:, None]
    return torch.minimum(numbers, end[:, None] - 1).clamp(min=0), is_inside


def mask_rows(similarity: Tensor, rows: Tensor, is_row: Tensor) -> None:
    """Set the similarity of some rows of each query to -inf, in place.

    Args:
        similarity: ``(Q, M)``.
        rows: ``(Q, R)`` int64; slots outside ``is_row`` repeat a row inside it, if it has any.
        is_row: ``(Q, R)`` bool.
    """
    values = similarity.gather(1, rows)
    # If a query has a row, all of its slots hold such rows; equal slots then write equal values.
    similarity.scatter_(1, rows, values.masked_fill_(is_row.any(dim=1, keepdim=True), -torch.inf))
