"""Options of the hook's ``bank``."""

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
MAX_WORKERS = 1024
"""Upper limit of ``num_workers``; each process takes memory."""
DEFAULT_LIMIT = 50.0
"""Default limit of the cache in GiB."""
QUEUE_ROWS = 128
"""Default rows per class of a queue."""
FROZEN_ONLY = (
    "cache_dir",
    "cache_limit",
    "dtype",
    "pixels_per_image",
    "max_images",
    "batch_size",
    "num_workers",
)
"""Options that have no effect on queues."""


@dataclass(frozen=True)
class BankOptions:
    """Options of a memory bank: choice of its rows, building and caching.

    Args:
        cache_dir: Folder of finished banks. 'auto': ``$MMICKD_CACHE_DIR`` or ``~/.cache/mmickd``;
            None: banks are not cached.
        cache_limit: Maximum size in GiB of all banks in ``cache_dir``; the least recently used
            banks above it are removed. None: no limit.
        dtype: Dtype of stored features and logits, 'fp16' or 'fp32'.
        capacity_per_class: Rows per class; None: the default of the level (4096 at pixel level,
            else all), or :data:`QUEUE_ROWS` for a queue.
        pixels_per_image: Maximum number of pixels of one class from one image.
        max_images: Number of images to read; None: all.
        seed: Seed of the choice of rows and of anchors.
        pipeline: Transforms that read the training images; None: chosen automatically.
        batch_size: Images in a batch of the bank; None: the training batch size.
        num_workers: Processes that read images; None: as many as in training.
        shard: True: with several ranks, each keeps a part of the rows instead of all of them.
        momentum: Online distillation only. Share of the present weights in each step of a momentum
            encoder (a moving average of a network, as in MoCo, arXiv 1911.05722). The encoder then
            computes the rows of the network's queue and its queries. None: the network does.

    Raises:
        ICKDError: If an option is out of range.

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
            rule = "it must be 'auto', the path of a folder, or None (no cache)."
            check_path(self.cache_dir, "cache_dir", rule)
        if self.cache_limit is not None:
            check_number(self.cache_limit, "cache_limit", above=0)
        check_choice(self.dtype, STORED_DTYPES, "dtype")
        check_integer(self.capacity_per_class, 1, "capacity_per_class", none=True)
        check_integer(self.pixels_per_image, 1, "pixels_per_image")
        check_integer(self.max_images, 1, "max_images", none=True)
        check_integer(self.batch_size, 1, "batch_size", none=True)
        check_integer(self.num_workers, 0, "num_workers", none=True, most=MAX_WORKERS)
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
        """Dtype of stored features and logits."""
        return STORED_DTYPES[self.dtype]

    @property
    def queue_capacity(self) -> int:
        """Rows per class of a queue."""
        return self.capacity_per_class or QUEUE_ROWS

    def capacity(self, level_default: int | None) -> int | None:
        """Return the rows per class of a frozen bank; None: all.

        Args:
            level_default: Default of the level.
        """
        return level_default if self.capacity_per_class is None else self.capacity_per_class

    def cache_key(self, level_default: int | None) -> dict[str, str]:
        """Return the options that decide the rows of a bank, for its cache key.

        Args:
            level_default: Default capacity of the level.
        """
        options = {
            "dtype": self.stored_dtype,
            "capacity_per_class": self.capacity(level_default),
            "pixels_per_image": self.pixels_per_image,
            "max_images": self.max_images,
            "seed": self.seed,
        }
        return {name: str(value) for name, value in options.items()}

    @property
    def unused_by_queues(self) -> list[str]:
        """Options that are set and have no effect on queues."""
        defaults = {field.name: field.default for field in fields(self)}
        return [name for name in FROZEN_ONLY if getattr(self, name) != defaults[name]]
