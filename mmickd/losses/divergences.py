"""Divergence and entropy of distributions that are given by their logarithms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def kl_divergence(log_p: Tensor, log_q: Tensor, dim: int = -1) -> Tensor:
    """``KL(p || q)`` along ``dim``.

    Args:
        log_p: of any shape.
        log_q: of the same shape.
        dim: the outcomes.

    Returns:
        The shape without ``dim``.
    """
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=dim)


def masked_log_softmax(x: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """``log_softmax`` over what the mask keeps; 0 elsewhere, which adds nothing to a divergence.

    Args:
        x: floating point of any shape; where it is masked it may hold anything.
        mask: bool, as ``x`` or broadcast to it; True where kept.
        dim: the outcomes.
    """
    return x.masked_fill(~mask, -torch.inf).log_softmax(dim=dim).masked_fill(~mask, 0.0)


def entropy(log_p: Tensor) -> Tensor:
    """``H(p)`` along the last axis."""
    return -(log_p.exp() * log_p).sum(dim=-1)
