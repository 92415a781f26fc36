"""Numerics that the losses share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """``x`` in float32 at least: half precision overflows in norms and loses small KLs."""
    return x if x.dtype == torch.float64 else x.float()


def center(x: Tensor) -> Tensor:
    """``x`` minus its mean over the last axis (the classes)."""
    return x - x.mean(dim=-1, keepdim=True)


def direction(logits: Tensor) -> Tensor:
    """``cen(x) / ||cen(x)||`` along the last axis; 0 for equal logits."""
    return F.normalize(center(logits), dim=-1)


def bounded_direction(logits: Tensor) -> Tensor:
    """``cen(x) / sqrt(||cen(x)||^2 + 1)`` along the last axis; the 1 bounds its gradient."""
    centered = center(logits)
    return centered * (centered.square().sum(dim=-1, keepdim=True) + 1.0).rsqrt()
