"""Negative in-context distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmickd.losses.numerics import center, masked_mean, widen
from mmickd.registry import MODELS
from mmickd.structures import Context


def nicd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    negatives: Context,
    temperature: float = 0.5,
    valid: Tensor | None = None,
    avg_factor: Tensor | float | None = None,
) -> Tensor:
    """Push the student from other-class in-context samples, with the teacher's view as anchor.

    With ``cen(x) = x - mean(x)``, ``q_i = cen(z^s_i) / sqrt(||cen(z^s_i)||^2 + 1)`` and
    ``u = cen(z) / ||cen(z)||`` of teacher logits, the loss is the InfoNCE
    ``mean_i [ logsumexp({q_i.u_i} + {q_i.u_n : n in N_i}, each / T) - q_i.u_i / T ]``.
    The 1 under the root bounds the gradient at small student logits.

    With negatives of width 0 (``num_negatives=0``, a control) it is ``mean_i (1 - q_i.u_i) / T``.

    Source: the role of NICD and the names of its parameters are those of arXiv 2501.07040; the
    formula is our choice (the paper's is not at hand).

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; the teacher's logits of the same queries, a constant.
        negatives: other-class rows of the bank, ``(Q, N)``.
        temperature: ``T`` > 0 (the paper's gamma_nicd).
        valid: ``(Q,)`` bool; the queries that count (None: all). Without it a query counts when
            it has a negative; the control has no other way to leave out a padding row.
        avg_factor: what the sum over the queries is divided by; None: the number of queries that
            count. With several ranks it is their mean number (:mod:`mmickd.losses.averaging`).

    Returns:
        Scalar, float32 (float64 for float64 input): mean over the queries that have a negative;
        0 with gradient 0 when none has.
    """
    counted = counted_nicd(negatives, valid)
    query = bounded_direction(widen(student_logits))
    own = (query * direction(widen(teacher_logits.detach()))).sum(dim=1)
    if negatives.mask.shape[1] == 0:
        return masked_mean((1.0 - own) / temperature, counted, avg_factor)
    others = torch.einsum("qc,qnc->qn", query, direction(widen(negatives.logits)).to(query.dtype))
    others = (others / temperature).masked_fill(~negatives.mask, -torch.inf)
    own = own / temperature
    per_query = torch.cat([own[:, None], others], dim=1).logsumexp(dim=1) - own
    return masked_mean(per_query, counted, avg_factor)


def counted_nicd(negatives: Context, valid: Tensor | None = None) -> Tensor:
    """``(Q,)`` bool: the queries that :func:`nicd_loss` counts.

    Those with a negative; with negatives of width 0 (the control), all. Of them, the valid ones.
    """
    mask = negatives.mask
    counted = mask.any(dim=1) if mask.shape[1] else mask.new_ones(mask.shape[:1])
    return counted if valid is None else counted & valid


def bounded_direction(logits: Tensor) -> Tensor:
    """``cen(x) / sqrt(||cen(x)||^2 + 1)`` along the last axis."""
    centered = center(logits)
    return centered * (centered.square().sum(dim=-1, keepdim=True) + 1.0).rsqrt()


def direction(logits: Tensor) -> Tensor:
    """``cen(x) / ||cen(x)||`` along the last axis; 0 for equal logits."""
    return F.normalize(center(logits), dim=-1)


@MODELS.register_module()
class NICDLoss(nn.Module):
    """:func:`nicd_loss` with its options.

    Args:
        temperature: ``T`` > 0 (the paper's gamma_nicd).
        num_negatives: negatives to retrieve for each query, the hardest first; 0 is the control
            without negatives.
    """

    def __init__(self, temperature: float = 0.5, num_negatives: int = 32) -> None:
        super().__init__()
        self.temperature = temperature
        self.num_negatives = num_negatives

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        negatives: Context,
        valid: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
    ) -> Tensor:
        """See :func:`nicd_loss`."""
        return nicd_loss(
            student_logits, teacher_logits, negatives, self.temperature, valid, avg_factor
        )
