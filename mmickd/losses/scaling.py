"""Dividing what varies by how much it varies, where that may be nothing."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = 1e-6
"""Variation of equal numbers by rounding, relative to their size."""


def divide_by_size(centered: Tensor, size: Tensor, magnitude: Tensor) -> Tensor:
    """``centered / size``; left as it is where its numbers differ by nothing but rounding.

    A divisor of 0, or a tiny one, would make gradients infinite or huge.

    Args:
        centered: numbers minus their mean, of any shape.
        size: of their variation, such as a norm; broadcast to ``centered``.
        magnitude: of the numbers themselves, measured in the same way or by the largest.
    """
    return centered / torch.where(size > ROUNDING * magnitude, size, 1.0)
