"""RandomCrop and RandomFlip for whole batches: the numbers of the stock transforms, drawn alike."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Draw(NamedTuple):
    """What chance decides of one picture.

    Args:
        top: first row of the crop.
        left: first column of the crop.
        direction: to flip it in: ``'horizontal'``, ``'vertical'``, ``'diagonal'``, or None.
    """

    top: int
    left: int
    direction: str | None


class Chance:
    """Draws what mmpretrain's RandomCrop and then mmcv's RandomFlip would, from numpy's generator.

    The same numbers in the same order: batches are those of the stock transforms bit for bit, and
    seeds, ranks, workers and resumed runs are theirs too.

    Args:
        room: rows and columns that a picture has more than its crop. ``(0, 0)``: none is drawn.
        flips: probability of each direction; the rest is not flipped. Empty: no flip is drawn.

    Example:
        >>> np.random.seed(0)
        >>> Chance((8, 8), {"horizontal": 0.5}).draw()
        Draw(top=5, left=0, direction=None)
    """

    def __init__(self, room: tuple[int, int], flips: Mapping[str, float]) -> None:
        self.room = room
        self.directions = (*flips, None)
        # As numpy.random.choice sums and searches its probabilities.
        total = np.cumsum([*flips.values(), 1 - sum(flips.values())])
        self._bounds = (total / total[-1]).tolist()

    def draw(self) -> Draw:
        """The numbers of one picture."""
        top, left = (
            (np.random.randint(0, more + 1) for more in self.room) if any(self.room) else (0, 0)
        )
        direction = None
        if len(self.directions) > 1:
            direction = self.directions[bisect_right(self._bounds, np.random.random_sample())]
        return Draw(top, left, direction)


def crop_and_flip(
    pictures: Tensor, rows: Sequence[int], draws: Sequence[Draw], size: tuple[int, int]
) -> Tensor:
    """Crops of some pictures, flipped, in a few operations on the device where the pictures lie.

    Args:
        pictures: ``(N, C, H, W)``, any dtype, padded as the crops want it.
        rows: ``B`` numbers of pictures.
        draws: ``B`` draws.
        size: of the crops, ``(h, w)``.

    Returns:
        ``(B, C, h, w)``, of the same dtype.

    Example:
        >>> picture = torch.arange(6).view(1, 1, 2, 3)
        >>> crop_and_flip(picture, [0, 0], [Draw(0, 0, None), Draw(0, 1, "horizontal")], (2, 2))
        tensor([[[[0, 1],
                  [3, 4]]],
        <BLANKLINE>
        <BLANKLINE>
                [[[2, 1],
                  [5, 4]]]])
    """
    # One small tensor, that a GPU gets without a wait.
    numbers = torch.tensor(
        [
            (row, top, left, way in ("horizontal", "diagonal"), way in ("vertical", "diagonal"))
            for row, (top, left, way) in zip(rows, draws, strict=True)
        ]
    )
    moved = numbers.to(pictures.device, non_blocking=True)
    windows = pictures.unfold(2, size[0], 1).unfold(3, size[1], 1)
    batch = windows[moved[:, 0], :, moved[:, 1], moved[:, 2]]
    for column, side in ((3, -1), (4, -2)):
        if numbers[:, column].any():
            flipped = moved[:, column, None, None, None].bool()
            batch = torch.where(flipped, batch.flip(side), batch)
    return batch
