"""The hook's ``bank``."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

import torch

from mmickd.utils.errors import OptionError
from mmickd.utils.validation import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_path,
)

STORED_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
MOST_WORKERS = 1024
"""Processes that read images; each takes memory of its own."""
DEFAULT_LIMIT = 50.0
"""GiB that the banks of a cache folder may have together."""
QUEUE_ROWS = 128
"""Default capacity of a class in the queue of a teacher that learns."""
FROZEN_ONLY = (
    "cache_dir",
    "cache_limit",
    "dtype",
    "pixels_per_image",
    "max_images",
    "batch_size",
    "num_workers",
)
"""Options that mean nothing for a queue."""


@dataclass(frozen=True)
class BankOptions:
    """Options of a memory bank: its rows, and how it is read and kept.

    Args:
        cache_dir: where finished banks lie; 'auto': ``$MMICKD_CACHE_DIR`` or ``~/.cache/mmickd``;
            None: nowhere.
        cache_limit: GiB that the banks in ``cache_dir`` may have together, before the least
            recently used ones are removed; None: no limit.
        dtype: of stored features and logits, 'fp16' or 'fp32'.
        capacity_per_class: rows per class; None: what the level has for default (all, 4096 at
            pixel level), and :data:`QUEUE_ROWS` in the queue of a teacher that learns.
        pixels_per_image: most pixels of one class from one image.
        max_images: images to read; None: all.
        seed: of the choice of rows and of anchors.
        pipeline: transforms that read the training images; None: those of validation.
        batch_size: images read at once; None: the training batch size.
        num_workers: processes that read images; None: as many as in training.
        shard: with several ranks, each keeps its part of the rows instead of all of them.
        momentum: of peers that learn together. The rows of a network's queue, and what is asked of
            them, come from its moving average (a momentum encoder, as in MoCo, arXiv 1911.05722),
            which takes this share of it in a step; None: from the network itself.

    Raises:
        ICKDError: if an option is out of range.

    Example:
        >>> BankOptions(capacity_per_class=64).queue_capacity
        64
    """

    cache_dir: str | os.PathLike[str] | None = "auto"
    cache_limit: float | None = DEFAULT_LIMIT
    dtype: str = "fp16"
    capacity_per_class: int | None = None
    pixels_per_image: int = 16
    max_images: int | None = None
    seed: int = 0
    pipeline: Any = None
    batch_size: int | None = None
    num_workers: int | None = None
    shard: bool = False
    momentum: float | None = None

    def __post_init__(self) -> None:
        if self.cache_dir is not None:
            needed = "it must be 'auto', the path of a folder, or None (no cache)."
            check_path(self.cache_dir, "cache_dir", needed)
        if self.cache_limit is not None:
            check_number(self.cache_limit, "cache_limit", above=0)
        check_choice(self.dtype, STORED_DTYPES, "dtype")
        check_integer(self.capacity_per_class, 1, "capacity_per_class", none=True)
        check_integer(self.pixels_per_image, 1, "pixels_per_image")
        check_integer(self.max_images, 1, "max_images", none=True)
        check_integer(self.batch_size, 1, "batch_size", none=True)
        check_integer(self.num_workers, 0, "num_workers", none=True, most=MOST_WORKERS)
        check_integer(self.seed, 0, "seed")
        check_flag(self.shard, "shard")
        if not (isinstance(self.pipeline, (list, tuple, type(None))) or callable(self.pipeline)):
            raise OptionError(
                "pipeline", self.pipeline, "it must be a list of transforms, or None."
            )
        if self.momentum is not None:
            check_number(self.momentum, "momentum", above=0, most=1)

    @property
    def stored_dtype(self) -> torch.dtype:
        """Of stored features and logits."""
        return STORED_DTYPES[self.dtype]

    @property
    def queue_capacity(self) -> int:
        """Rows per class of a queue."""
        return self.capacity_per_class or QUEUE_ROWS

    def capacity(self, level_default: int | None) -> int | None:
        """Rows per class of a frozen bank; None: all.

        Args:
            level_default: the level's default.
        """
        return level_default if self.capacity_per_class is None else self.capacity_per_class

    def fingerprint_fields(self, level_default: int | None) -> dict[str, str]:
        """Options that decide which rows a bank holds, for its fingerprint.

        Args:
            level_default: the level's default capacity.
        """
        decided = {
            "dtype": self.stored_dtype,
            "capacity_per_class": self.capacity(level_default),
            "pixels_per_image": self.pixels_per_image,
            "max_images": self.max_images,
            "seed": self.seed,
        }
        return {name: str(value) for name, value in decided.items()}

    @property
    def unused_by_queues(self) -> list[str]:
        """Options that are set and mean nothing for a queue."""
        defaults = {field.name: field.default for field in fields(self)}
        return [name for name in FROZEN_ONLY if getattr(self, name) != defaults[name]]
