"""Size of the whole bank, estimated from a small bank."""

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

MIN_IMAGES = 512
"""Minimum number of images of a classifier's small bank."""
LABEL_MAPS = 64
"""Number of images of a segmenter's small bank; an image has many rows."""
IMAGES_PER_CLASS = 8
"""Number of images per class of a small bank, for classifiers with many classes."""


def sample_size(cfg: Config) -> int:
    """Return the number of images that a small bank needs for meaningful figures.

    The images are chosen at random, because their classes are unknown before they are read.

    Args:
        cfg: The whole config.

    Example:
        >>> sample_size(Config(dict(model=dict(head=dict(num_classes=1000)))))
        8000
    """
    if is_segmentation(cfg):
        return LABEL_MAPS
    classes = max(_numbers_of_classes(cfg.get("model")), default=0)
    return max(MIN_IMAGES, IMAGES_PER_CLASS * classes)


def _numbers_of_classes(part: Any) -> list[int]:
    if isinstance(part, Mapping):
        number = part.get("num_classes")
        inner = [n for value in part.values() for n in _numbers_of_classes(value)]
        return [number, *inner] if type(number) is int else inner
    if isinstance(part, (list, tuple)):
        return [n for value in part for n in _numbers_of_classes(value)]
    return []


@dataclass(frozen=True, eq=False)
class BankSize:
    """Rows and bytes of a frozen bank.

    Args:
        rows_per_class: ``(C,)`` int64.
        bytes_per_row: Bytes of features, logits, label and id.
        is_exact: True if the rows are counted, False if they are estimated.

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
        """Rows of all classes."""
        return int(self.rows_per_class.sum())

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.rows * self.bytes_per_row

    def nbytes_of_rank(self, world_size: int, shard: bool) -> int:
        """Return the maximum number of bytes on a rank's device.

        Args:
            world_size: Number of ranks.
            shard: True if the bank is sharded.
        """
        return -(-self.rows // world_size) * self.bytes_per_row if shard else self.nbytes


def size_of_whole(
    sample: MemoryBank, sample_images: BankImages, images: BankImages, capacity: int | None
) -> BankSize:
    """Return the size of the whole bank.

    The size is exact if the annotations have the class of each image and agree with the rows of the
    small bank. Otherwise the rows of each class are scaled by the ratio of the numbers of images.

    Args:
        sample: Small bank.
        sample_images: Images of the small bank.
        images: All images.
        capacity: Maximum number of rows per class; None: no limit.
    """
    rows, classes = sample.offsets.diff().cpu(), sample.num_classes
    bytes_per_row = sample.nbytes // len(sample)
    counts, all_counts = (_images_per_class(part, classes) for part in (sample_images, images))
    if counts is not None and all_counts is not None and torch.equal(_cut(counts, capacity), rows):
        return BankSize(_cut(all_counts, capacity), bytes_per_row, is_exact=True)
    share = len(sample_images) / len(images)
    whole = (rows.double() / share).round().long()
    return BankSize(_cut(whole, capacity), bytes_per_row, is_exact=share == 1)


def complete_share(
    size: BankSize, sample: MemoryBank, share: float, num_positives: int, exclude_same_id: bool
) -> float:
    """Estimate the share of the whole bank's rows that find all positives.

    The positives of a row are the rows of its class in other images. The number of rows of a class
    in an image is taken from the small bank, and reduced if the capacity limits the whole bank.

    Args:
        size: Size of the whole bank.
        sample: Small bank, on the CPU.
        share: Number of images of the small bank, as a share of all images.
        num_positives: Rows of a query's class that are retrieved.
        exclude_same_id: True if rows of a query's own image are left out.

    Returns:
        The share in [0, 1]. For a class without rows in the small bank, one row per image is
        assumed.
    """
    rows, small = size.rows_per_class, sample.offsets.diff()
    same_image = torch.zeros(len(sample), dtype=torch.double)
    if exclude_same_id:
        pairs = torch.stack([sample.labels, sample.ids], dim=1)
        _, pair, counts = pairs.unique(dim=0, return_inverse=True, return_counts=True)
        kept = (rows * share / small.clamp(min=1)).clamp(max=1)  # share of an image's rows
        same_image = (counts[pair] * kept[sample.labels]).clamp(min=1)
        same_image = same_image.masked_fill(sample.ids == NO_ID, 0)
    is_complete = (rows[sample.labels] - same_image >= num_positives).double()
    without_rows = (rows - int(exclude_same_id) >= num_positives).double()
    shares = torch.zeros(len(rows), dtype=torch.double)
    shares = shares.index_add_(0, sample.labels, is_complete) / small.clamp(min=1)
    return float((torch.where(small > 0, shares, without_rows) * rows).sum() / rows.sum())


def _cut(rows: Tensor, capacity: int | None) -> Tensor:
    return rows if capacity is None else rows.clamp(max=capacity)


def _images_per_class(images: BankImages, classes: int) -> Tensor | None:
    """Return ``(C,)`` int64, images per class; None if the annotations have no classes."""
    labels = [images.info(index).get("gt_label") for index in range(len(images))]
    if not all(isinstance(label, (int, np.integer)) and 0 <= label < classes for label in labels):
        return None
    return torch.bincount(torch.tensor(labels), minlength=classes)
