"""Numerics that the losses share."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """``x`` in float32 at least: half precision overflows in norms and loses small KLs."""
    return x if x.dtype == torch.float64 else x.float()


def masked_mean(
    values: Tensor, counted: Tensor, avg_factor: Tensor | float | None = None
) -> Tensor:
    """Mean of ``values`` where ``counted``; 0 with gradient 0 when none is.

    Runs without a host synchronisation: no data-dependent shape, no branch on a tensor.

    Args:
        values: ``(Q,)`` floating point.
        counted: ``(Q,)`` bool.
        avg_factor: what the sum is divided by; None: the number of counted values.

    Returns:
        Scalar of the dtype of ``values``.
    """
    # where, not a product: 0 * NaN of a row that does not count would be NaN.
    total = torch.where(counted, values, values.new_zeros(())).sum()
    return total / (counted.sum().clamp(min=1) if avg_factor is None else avg_factor)


def every_query(logits: Tensor) -> Tensor:
    """``(Q,)`` bool, all True, for ``(Q, C)`` logits."""
    return torch.ones_like(logits[:, 0], dtype=torch.bool)


def center(x: Tensor) -> Tensor:
    """``x`` minus its mean over the last axis (the classes)."""
    return x - x.mean(dim=-1, keepdim=True)
