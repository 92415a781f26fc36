"""Thumbnails of the networks' input images, in RGB, by name."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmickd.building.images import BankImages
from mmickd.teachers.normalization import COLOURS

SIDE = 256
"""Maximum side of a thumbnail, in pixels."""
CACHED = 1024
"""Maximum number of thumbnails in memory: 200 MiB."""


class Thumbnails:
    """Thumbnails of images by split and name.

    They show the teacher's input (cropped and resized by the pipeline), so that a data set without
    files has thumbnails too.

    Args:
        splits: Images by the name of their split.
        swaps_channels: True if the teacher's data preprocessor reverses the order of the channels.
    """

    def __init__(self, splits: dict[str, BankImages], swaps_channels: bool) -> None:
        self.splits = splits
        self._swaps_channels = swaps_channels
        self._indices = {
            split: {images.name(index): index for index in range(len(images))}
            for split, images in splits.items()
        }
        self.picture = lru_cache(CACHED)(self._picture)

    def _picture(self, split: str, name: str) -> Image.Image:
        sample = self.splits[split][self._indices[split][name]]
        picture = picture_of(sample, self._swaps_channels)
        picture.thumbnail((SIDE, SIDE))
        return picture


def picture_of(sample: dict[str, Any], swaps_channels: bool) -> Image.Image:
    """Return a packed image in RGB.

    mmcv reads files as BGR. Images without a file have the channel order of the data preprocessor's
    input, which it may reverse.

    Args:
        sample: Packed sample with ``inputs`` ``(C, h, w)`` of any dtype.
        swaps_channels: True if the data preprocessor reverses the order of the channels.

    Example:
        >>> from mmengine.structures import BaseDataElement
        >>> blue = torch.zeros(3, 1, 1, dtype=torch.uint8)
        >>> blue[0] = 255
        >>> of_file = BaseDataElement(metainfo=dict(img_path="a.png"))
        >>> picture_of(dict(inputs=blue, data_samples=of_file), True).getpixel((0, 0))
        (0, 0, 255)
    """
    inputs = sample["inputs"]
    if inputs.dtype != torch.uint8:
        values = inputs.float()
        low, high = values.min(), values.max()
        inputs = ((values - low) * (255 / (high - low).clamp(min=1e-12))).round().to(torch.uint8)
    channels = inputs[:3] if len(inputs) >= 3 else inputs[:1].expand(3, -1, -1)
    # data preprocessors reorder the channels of colour images only
    is_swapped = swaps_channels and len(inputs) == COLOURS
    if is_swapped or sample["data_samples"].metainfo.get("img_path"):
        channels = channels.flip(0)
    return Image.fromarray(np.ascontiguousarray(channels.permute(1, 2, 0).numpy()))
