"""Which class a cell of a logits grid belongs to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.structures import NO_LABEL


def resize(x: Tensor, grid: tuple[int, int], align_corners: bool) -> Tensor:
    """``(B, C, h, w)`` logits or features on another grid, as their own head resizes its logits.

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
    """The ground truth of each cell's centre.

    The centre is where the head's own upsampling puts the cell: with ``align_corners`` the corner
    cells lie on the corner pixels, else every cell covers an equal share of the input.

    Args:
        gt: ``(B, H, W)`` int; the ground truth, of the image or of its unresized original (the
            stock validation pipelines leave it so): only its field of view counts.
        grid: ``(h, w)`` of the logits.
        input_shape: ``(h, w)`` in pixels of the network's input, padding included.
        image_shape: ``(h, w)`` in pixels of the image in it (top left).
        align_corners: of the head that made the logits.
        num_classes: ``C``; labels outside ``[0, C)`` become void.
        ignore_index: the label of void pixels.

    Returns:
        ``(B, h, w)`` int64, -1 for void cells and padding.
    """
    ys, outside_y = _centres(
        grid[0], input_shape[0], image_shape[0], gt.shape[1], align_corners, gt
    )
    xs, outside_x = _centres(
        grid[1], input_shape[1], image_shape[1], gt.shape[2], align_corners, gt
    )
    labels = gt.long()[:, ys[:, None], xs[None, :]]
    void = (labels == ignore_index) | (labels < 0) | (labels >= num_classes)
    void = void | outside_y[:, None] | outside_x[None, :]
    return labels.masked_fill(void, NO_LABEL)


def cell_centres(
    grid: tuple[int, int], input_shape: tuple[int, int], align_corners: bool
) -> Tensor:
    """Where the cells lie, as the head's own upsampling puts them.

    Args:
        grid: ``(h, w)`` of the logits.
        input_shape: ``(h, w)`` in pixels of the network's input, padding included.
        align_corners: of the head that made the logits.

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
    cells: int, input_size: int, image_size: int, gt_size: int, align_corners: bool, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Row (or column) of the ground truth at each cell's centre, and which cells are padding."""
    index = torch.arange(cells, device=like.device)
    # In whole numbers: a centre may lie on the border of two pixels, where rounding would choose.
    if align_corners and cells > 1:
        centre, unit = 2 * index * (input_size - 1) + cells - 1, 2 * (cells - 1)
    else:
        centre, unit = (2 * index + 1) * input_size, 2 * cells
    at = torch.div(centre * gt_size, image_size * unit, rounding_mode="floor")
    return at.clamp(max=gt_size - 1), centre >= image_size * unit
