"""Random logits and contexts for the losses, small and nasty."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.structures import Context

SHAPES = [(1, 2, 1), (5, 3, 4), (7, 10, 3)]  # Q, C, K
HALVES = [torch.float16, torch.bfloat16]


def tensors(
    q: int, c: int, k: int, seed: int = 0, dtype: torch.dtype = torch.float64, scale: float = 2.0
) -> tuple[Tensor, Tensor, Context]:
    """Return student and teacher logits and a context, a third of it masked, query 0 entirely."""
    g = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, q, c, generator=g, dtype=dtype) * scale
    mask = torch.rand(q, k, generator=g) > 0.35
    if q > 1:
        mask[0] = False
    mask[-1, :1] = True
    context = Context(
        similarity=torch.rand(q, k, generator=g, dtype=dtype) * 2 - 1,
        logits=torch.randn(q, k, c, generator=g, dtype=dtype) * scale,
        mask=mask,
        indices=torch.where(mask, 0, -1),
    )
    return student, teacher, context


def contexts(q: int, c: int, k: int) -> tuple[Context, Context]:
    """Positives and negatives of ``q`` queries; each query has a negative."""
    positives, negatives = tensors(q, c, k)[2], tensors(q, c, k, seed=1)[2]
    negatives.mask[:, 0] = True
    return positives, negatives


def masked_context(q: int, k: int, c: int, dtype: torch.dtype = torch.float32) -> Context:
    """Return a context in which every row is masked."""
    return Context(
        similarity=torch.zeros(q, k, dtype=dtype),
        logits=torch.zeros(q, k, c, dtype=dtype),
        mask=torch.zeros(q, k, dtype=torch.bool),
        indices=torch.full((q, k), -1),
    )


def with_other_rows_under_the_mask(context: Context) -> Context:
    """Return the same context with large numbers in the masked places."""
    hidden = ~context.mask
    return Context(
        context.similarity.masked_fill(hidden, 1e6),
        context.logits.masked_fill(hidden[..., None], 77.0),
        context.mask,
        context.indices,
    )


def of_dtype(context: Context, dtype: torch.dtype) -> Context:
    """Return the same context in another precision."""
    return Context(
        context.similarity.to(dtype), context.logits.to(dtype), context.mask, context.indices
    )
