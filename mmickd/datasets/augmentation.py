"""RandomCrop and RandomFlip of whole batches, with the random numbers of the stock transforms."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Draw(NamedTuple):
    """Random crop and flip of one image.

    Args:
        top: First row of the crop.
        left: First column of the crop.
        direction: Direction of the flip: ``'horizontal'``, ``'vertical'``, ``'diagonal'`` or None.
    """

    top: int
    left: int
    direction: str | None


class CropAndFlipSampler:
    """Sampler of the crops of mmpretrain's RandomCrop and the flips of mmcv's RandomFlip.

    It draws the same numbers in the same order from numpy's generator, so that batches equal
    the batches of the stock transforms bit for bit, in every rank, worker and resumed run.

    Args:
        margin: Rows and columns of an image outside of its crop; ``(0, 0)``: no crop is drawn.
        flips: Probability of each direction; empty: no flip is drawn.

    Example:
        >>> np.random.seed(0)
        >>> CropAndFlipSampler((8, 8), {"horizontal": 0.5}).draw()
        Draw(top=5, left=0, direction=None)
    """

    def __init__(self, margin: tuple[int, int], flips: Mapping[str, float]) -> None:
        self.margin = margin
        self.directions = (*flips, None)
        # numpy.random.choice sums and searches its probabilities in the same way
        total = np.cumsum([*flips.values(), 1 - sum(flips.values())])
        self._bounds = (total / total[-1]).tolist()

    def draw(self) -> Draw:
        """Draw the crop and the flip of one image."""
        top = left = 0
        if any(self.margin):
            top, left = (np.random.randint(0, size + 1) for size in self.margin)
        direction = None
        if len(self.directions) > 1:
            direction = self.directions[bisect_right(self._bounds, np.random.random_sample())]
        return Draw(top, left, direction)


def crop_and_flip(
    images: Tensor, rows: Sequence[int], draws: Sequence[Draw], size: tuple[int, int]
) -> Tensor:
    """Crop and flip a batch of images in a few operations on their device.

    Args:
        images: All images, ``(N, C, H, W)``, of any dtype, with the crop's padding.
        rows: Indices of the ``B`` images of the batch.
        draws: Their ``B`` draws.
        size: Size of the crops, ``(h, w)``.

    Returns:
        ``(B, C, h, w)``, of the same dtype.

    Example:
        >>> image = torch.arange(6).view(1, 1, 2, 3)
        >>> crop_and_flip(image, [0, 0], [Draw(0, 0, None), Draw(0, 1, "horizontal")], (2, 2))
        tensor([[[[0, 1],
                  [3, 4]]],
        <BLANKLINE>
        <BLANKLINE>
                [[[2, 1],
                  [5, 4]]]])
    """
    # one small tensor, which is copied to a GPU without a host synchronisation
    numbers = torch.tensor(
        [
            (row, top, left, way in ("horizontal", "diagonal"), way in ("vertical", "diagonal"))
            for row, (top, left, way) in zip(rows, draws, strict=True)
        ]
    )
    on_device = numbers.to(images.device, non_blocking=True)
    windows = images.unfold(2, size[0], 1).unfold(3, size[1], 1)
    batch = windows[on_device[:, 0], :, on_device[:, 1], on_device[:, 2]]
    for column, side in ((3, -1), (4, -2)):
        if numbers[:, column].any():
            flipped = on_device[:, column, None, None, None].bool()
            batch = torch.where(flipped, batch.flip(side), batch)
    return batch
