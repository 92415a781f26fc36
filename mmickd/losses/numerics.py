"""Numerics that the losses share."""

from __future__ import annotations

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """``x`` in float32 at least: half precision overflows in norms and loses small KLs."""
    return x if x.dtype == torch.float64 else x.float()


def masked_mean(values: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of ``values`` where ``valid``; 0 with gradient 0 when none is.

    Runs without a host synchronisation: no data-dependent shape, no branch on a tensor.

    Args:
        values: ``(Q,)`` floating point.
        valid: ``(Q,)`` bool, or None for all.

    Returns:
        Scalar of the dtype of ``values``.
    """
    if valid is None:
        valid = torch.ones_like(values, dtype=torch.bool)
    # where, not a product: 0 * NaN of a row that does not count would be NaN.
    total = torch.where(valid, values, values.new_zeros(())).sum()
    return total / valid.sum().clamp(min=1)


def center(x: Tensor) -> Tensor:
    """``x`` minus its mean over the last axis (the classes)."""
    return x - x.mean(dim=-1, keepdim=True)
