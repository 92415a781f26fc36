"""Leaving a query's own image out of its context: the one place that says what 'own' means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmickd.structures import NO_ID

if TYPE_CHECKING:
    from mmickd.banks.memory_bank import MemoryBank


def same_image(row_ids: Tensor, query_ids: Tensor) -> Tensor:
    """Where a row comes from the query's own image; an unknown image is no image.

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
    bank: MemoryBank, queries: Tensor, voters: Tensor, exclude_same_id: bool
) -> Tensor:
    """Return which rows have a row of their class among the voters that may vote on them.

    The neighbours of a row without one (the only picture of its class, pixels of the only image
    with this class) can name nothing but other classes, whether its label is right or wrong.

    Args:
        bank: whole.
        queries: ``(Q,)`` int64, rows of the bank.
        voters: ``(V,)`` int64, rows of the bank; a query among them does not vote on itself.
        exclude_same_id: whether rows of a query's own image do not vote.

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
    voter_labels, voter_ids = bank.labels[voters], bank.ids[voters]
    sizes = torch.bincount(voter_labels, minlength=bank.num_classes)
    has_other_row = sizes[labels] > torch.isin(queries, voters).long()
    if not exclude_same_id:
        return has_other_row
    # A class has a second image where the smallest and the largest id are not both the query's.
    largest = torch.iinfo(torch.long).max
    low = torch.full_like(sizes, largest).scatter_reduce_(0, voter_labels, voter_ids, "amin")
    high = torch.full_like(sizes, -largest).scatter_reduce_(0, voter_labels, voter_ids, "amax")
    has_other_image = (low[labels] != ids) | (high[labels] != ids)
    return has_other_row & (has_other_image | (ids == NO_ID))


class ImageIndex:
    """The rows of each image, to find a query's own without comparing it to every row.

    Args:
        row_ids: ``(M,)`` int64.

    Attributes:
        largest (int): rows of the image that has most.

    Example:
        >>> index = ImageIndex(torch.tensor([7, 9, 7]))
        >>> rows, found = index.rows_of(torch.tensor([7, 9, 1]))
        >>> found.sum(dim=1).tolist(), index.largest
        ([2, 1, 0], 2)
    """

    def __init__(self, row_ids: Tensor) -> None:
        known = (row_ids > NO_ID).nonzero()[:, 0]
        self._images, order = row_ids[known].sort(stable=True)
        self._rows = known[order]
        sizes = self._images.unique_consecutive(return_counts=True)[1]
        self.largest = int(sizes.max()) if len(sizes) else 0

    def rows_of(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of each image.

        Args:
            ids: ``(Q,)`` int64.

        Returns:
            ``(Q, largest)`` int64 rows and bool mask. Slots beyond the last row repeat it.
        """
        ids = ids.contiguous()
        begin = torch.searchsorted(self._images, ids)
        end = torch.searchsorted(self._images, ids, right=True)
        places, found = slots_between(begin, end, self.largest)
        return self._rows[places] if places.numel() else places, found


def slots_between(begin: Tensor, end: Tensor, width: int) -> tuple[Tensor, Tensor]:
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
