"""Positions and labels of the cells of a logits grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.structures import NO_LABEL


def resize(x: Tensor, grid: tuple[int, int], align_corners: bool) -> Tensor:
    """Resize ``(B, C, h, w)`` logits or features to another grid, as a head resizes its logits.

    Example:
        >>> resize(torch.zeros(1, 3, 4, 4), (8, 8), align_corners=False).shape
        torch.Size([1, 3, 8, 8])
    """
    if tuple(x.shape[-2:]) == tuple(grid):
        return x
    return F.interpolate(x.float(), grid, mode="bilinear", align_corners=align_corners)


def labels_on_grid(
    gt: Tensor,
    grid: tuple[int, int],
    input_shape: tuple[int, int],
    image_shape: tuple[int, int],
    align_corners: bool,
    num_classes: int,
    ignore_index: int,
) -> Tensor:
    """Return the ground truth at each cell's centre.

    The head's upsampling defines the centre: with ``align_corners`` the corner cells lie on the
    corner pixels, else every cell covers an equal share of the input.

    Args:
        gt: ``(B, H, W)`` int; ground truth of the image or of its unresized original (as in the
            stock validation pipelines). It must have the same field of view; its size is free.
        grid: ``(h, w)`` of the logits.
        input_shape: ``(h, w)`` of the network's input in pixels, padding included.
        image_shape: ``(h, w)`` of the image in the input (top left), in pixels.
        align_corners: Option of the head that outputs the logits.
        num_classes: ``C``; labels outside ``[0, C)`` become void.
        ignore_index: Label of void pixels.

    Returns:
        ``(B, h, w)`` int64, -1 for void cells and padding.
    """
    (ys, outside_y), (xs, outside_x) = (
        _centres(grid[i], input_shape[i], image_shape[i], gt.shape[1 + i], align_corners, gt.device)
        for i in range(2)
    )
    labels = gt.long()[:, ys[:, None], xs[None, :]]
    void = (labels == ignore_index) | (labels < 0) | (labels >= num_classes)
    void = void | outside_y[:, None] | outside_x[None, :]
    return labels.masked_fill(void, NO_LABEL)


def cell_centres(
    grid: tuple[int, int], input_shape: tuple[int, int], align_corners: bool
) -> Tensor:
    """Return the centres of the cells, as the head's upsampling defines them.

    Args:
        grid: ``(h, w)`` of the logits.
        input_shape: ``(h, w)`` of the network's input in pixels, padding included.
        align_corners: Option of the head that outputs the logits.

    Returns:
        ``(h * w, 2)`` float32; x and y in pixels of the input, 0 at its left or upper edge.

    Example:
        >>> cell_centres((1, 2), (8, 16), align_corners=False).tolist()
        [[4.0, 4.0], [12.0, 4.0]]
    """
    ys, xs = (
        torch.linspace(0.5, size - 0.5, cells)
        if align_corners and cells > 1
        else (torch.arange(cells) + 0.5) * size / cells
        for cells, size in zip(grid, input_shape, strict=True)
    )
    return torch.stack([xs.repeat(len(ys)), ys.repeat_interleave(len(xs))], dim=1)


def _centres(
    cells: int,
    input_size: int,
    image_size: int,
    gt_size: int,
    align_corners: bool,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Return the row (or column) of ``gt`` at each cell's centre, and a mask of padding cells."""
    index = torch.arange(cells, device=device)
    # In integers: a centre may lie on the border of two pixels, where rounding would decide.
    if align_corners and cells > 1:
        centre, unit = 2 * index * (input_size - 1) + cells - 1, 2 * (cells - 1)
    else:
        centre, unit = (2 * index + 1) * input_size, 2 * cells
    index = torch.div(centre * gt_size, image_size * unit, rounding_mode="floor")
    return index.clamp(max=gt_size - 1), centre >= image_size * unit
