"""Leaving a query's own image out of its context: the one place that says what 'own' means."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.structures import NO_ID


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
