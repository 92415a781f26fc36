"""Images of a run by name, as the networks get them, for eyes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmickd.building.images import BankImages
from mmickd.teachers.normalization import COLOURS

SIDE = 256
"""Most pixels of a side that are kept of an image."""
KEPT = 1024
"""Images that are kept: 200 MiB of them at most."""


class Thumbnails:
    """Pictures of images by split and name.

    They show what the teacher was given (cropped and resized by the pipeline), so a data set in
    memory has them as one in files has.

    Args:
        splits: images by the name of their split.
        swaps_channels: whether the teacher's data preprocessor changes the order of the channels.
    """

    def __init__(self, splits: dict[str, BankImages], swaps_channels: bool) -> None:
        self.splits = splits
        self._swaps = swaps_channels
        self._places = {
            split: {images.name(index): index for index in range(len(images))}
            for split, images in splits.items()
        }
        self.picture = lru_cache(KEPT)(self._picture)

    def _picture(self, split: str, name: str) -> Image.Image:
        """RGB, no side longer than :data:`SIDE`."""
        made = picture_of(self.splits[split][self._places[split][name]], self._swaps)
        made.thumbnail((SIDE, SIDE))
        return made


def picture_of(sample: dict[str, Any], swaps_channels: bool) -> Image.Image:
    """An image as its pipeline packs it, in RGB.

    mmcv reads files as BGR. What has no file is in the order that networks want, unless the data
    preprocessor changes it.

    Args:
        sample: packed, ``inputs`` ``(C, h, w)`` of any dtype.
        swaps_channels: whether the data preprocessor changes the order of the channels.

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
    # the order of other than colour images is never changed for the network
    is_swapped = swaps_channels and len(inputs) == COLOURS
    if is_swapped or sample["data_samples"].metainfo.get("img_path"):
        channels = channels.flip(0)
    return Image.fromarray(np.ascontiguousarray(channels.permute(1, 2, 0).numpy()))
