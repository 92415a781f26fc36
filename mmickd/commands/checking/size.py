"""How large a bank will be, told from a small one before the whole is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from mmickd.banks.memory_bank import MemoryBank
from mmickd.building.images import BankImages
from mmickd.structures import NO_ID
from mmickd.utils.config import is_segmentation

LEAST_IMAGES = 512
"""Images that a small bank is built from; of a segmenter each gives many rows:"""
LEAST_LABEL_MAPS = 64
IMAGES_PER_CLASS = 8
"""For more classes than that is enough for; the nearest of these rows vote on a class."""


def sample_size(cfg: Config) -> int:
    """Images that a small bank needs, so that figures of it mean something.

    They are drawn at random; which class an image has is known only when it was read.

    Args:
        cfg: the whole config.

    Example:
        >>> sample_size(Config(dict(model=dict(head=dict(num_classes=1000)))))
        8000
    """
    if is_segmentation(cfg):
        return LEAST_LABEL_MAPS
    classes = max(_numbers_of_classes(cfg.get("model")), default=0)
    return max(LEAST_IMAGES, IMAGES_PER_CLASS * classes)


def _numbers_of_classes(part: Any) -> list[int]:
    if isinstance(part, Mapping):
        own = part.get("num_classes")
        inner = [n for value in part.values() for n in _numbers_of_classes(value)]
        return [own, *inner] if type(own) is int else inner
    if isinstance(part, (list, tuple)):
        return [n for value in part for n in _numbers_of_classes(value)]
    return []


@dataclass(frozen=True, eq=False)
class BankSize:
    """Rows and bytes of a frozen bank.

    Args:
        rows_per_class: ``(C,)`` int64.
        bytes_per_row: features, logits, label and id.
        is_exact: whether these are its rows, and not an estimate.

    Example:
        >>> size = BankSize(torch.tensor([3, 5]), bytes_per_row=100, is_exact=True)
        >>> size.rows, size.nbytes
        (8, 800)
    """

    rows_per_class: Tensor
    bytes_per_row: int
    is_exact: bool

    @property
    def rows(self) -> int:
        """Of all classes."""
        return int(self.rows_per_class.sum())

    @property
    def nbytes(self) -> int:
        """Of all rows."""
        return self.rows * self.bytes_per_row

    def nbytes_of_rank(self, world_size: int, shard: bool) -> int:
        """Most bytes on a rank's device.

        Args:
            world_size: number of ranks.
            shard: whether they share the rows.
        """
        return -(-self.rows // world_size) * self.bytes_per_row if shard else self.nbytes


def size_of_whole(
    sampled: MemoryBank, taken: BankImages, images: BankImages, capacity: int | None
) -> BankSize:
    """The size of the bank of all images.

    Where the data set says the class of each image, and that explains the rows of the small bank,
    it is exact; else each class has as many more rows as there are more images.

    Args:
        sampled: the bank of the images that were taken.
        taken: these images.
        images: all of them.
        capacity: rows per class; None: all.
    """
    rows, classes = sampled.offsets.diff().cpu(), sampled.num_classes
    bytes_per_row = sampled.nbytes // len(sampled)
    few, all_ = (_images_per_class(some, classes) for some in (taken, images))
    if few is not None and all_ is not None and torch.equal(_cut(few, capacity), rows):
        return BankSize(_cut(all_, capacity), bytes_per_row, is_exact=True)
    share = len(taken) / len(images)
    whole = (rows.double() / share).round().long()
    return BankSize(_cut(whole, capacity), bytes_per_row, is_exact=share == 1)


def complete_share(
    size: BankSize, sampled: MemoryBank, share: float, num_positives: int, exclude_same_id: bool
) -> float:
    """Estimate the share of the whole bank's rows that find all positives.

    A row finds those of its class that are not of its own image. An image has as many rows of a
    class as in the small bank, less where the capacity cuts the class of the whole bank further.

    Args:
        size: of the whole bank.
        sampled: the small bank, on the CPU.
        share: images of the small bank, as a share of all images.
        num_positives: rows that are wanted.
        exclude_same_id: whether the rows of a query's own image are left out.

    Returns:
        The share in [0, 1]; a class without rows in the small bank counts as one with one row per
        image.
    """
    rows, small = size.rows_per_class, sampled.offsets.diff()
    own_rows = torch.zeros(len(sampled), dtype=torch.double)
    if exclude_same_id:
        pairs = torch.stack([sampled.labels, sampled.ids], dim=1)
        _, pair, counts = pairs.unique(dim=0, return_inverse=True, return_counts=True)
        kept = (rows * share / small.clamp(min=1)).clamp(max=1)  # of the rows of an image
        own_rows = (counts[pair] * kept[sampled.labels]).clamp(min=1)
        own_rows = own_rows.masked_fill(sampled.ids == NO_ID, 0)
    is_complete = (rows[sampled.labels] - own_rows >= num_positives).double()
    unseen = (rows - int(exclude_same_id) >= num_positives).double()
    shares = torch.zeros(len(rows), dtype=torch.double)
    shares = shares.index_add_(0, sampled.labels, is_complete) / small.clamp(min=1)
    return float((torch.where(small > 0, shares, unseen) * rows).sum() / rows.sum())


def _cut(rows: Tensor, capacity: int | None) -> Tensor:
    return rows if capacity is None else rows.clamp(max=capacity)


def _images_per_class(images: BankImages, classes: int) -> Tensor | None:
    """``(C,)`` int64 of the annotations; None if they do not say it."""
    labels = [images.info(index).get("gt_label") for index in range(len(images))]
    if not all(isinstance(label, (int, np.integer)) and 0 <= label < classes for label in labels):
        return None
    return torch.bincount(torch.tensor(labels), minlength=classes)
