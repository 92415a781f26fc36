"""Negative in-context distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import BaseLoss, mean_similarity, reduce_loss, widen
from mmickd.registry import LOSSES
from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_integer, check_number


def nicd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    negatives: Context,
    temperature: float = 0.5,
    valid: Tensor | None = None,
    reduction: str = "mean",
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
        reduction: 'mean' over the queries that have a negative, or 'none'.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query has a
        negative; or ``(Q,)``.

    Example:
        >>> z = torch.tensor([[3.0, -3.0]])
        >>> float(nicd_loss(z, z, Context.empty(z))) < float(nicd_loss(-z, z, Context.empty(z)))
        True
    """
    query = bounded_direction(widen(student_logits))
    own = (query * direction(widen(teacher_logits.detach()))).sum(dim=1)
    counted = has_negatives(negatives) if valid is None else has_negatives(negatives) & valid
    if negatives.mask.shape[1] == 0:
        return reduce_loss((1.0 - own) / temperature, counted, reduction)
    others = torch.einsum("qc,qnc->qn", query, direction(widen(negatives.logits)).to(query.dtype))
    others = (others / temperature).masked_fill(~negatives.mask, -torch.inf)
    own = own / temperature
    values = torch.cat([own[:, None], others], dim=1).logsumexp(dim=1) - own
    return reduce_loss(values, counted, reduction)


def has_negatives(negatives: Context) -> Tensor:
    """``(Q,)`` bool: the queries that have a negative; with negatives of width 0, all."""
    mask = negatives.mask
    return negatives.found if mask.shape[1] else mask.new_ones(mask.shape[:1])


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


@LOSSES.register_module()
class NICDLoss(BaseLoss):
    """:func:`nicd_loss` with its options.

    Args:
        temperature: ``T`` > 0 (the paper's gamma_nicd).
        num_negatives: negatives to retrieve for each query, the hardest first; 0 is the control
            without negatives.

    Example:
        >>> NICDLoss(num_negatives=0).retrieves
        False
    """

    unsafe_before_training = True

    def __init__(self, temperature: float = 0.5, num_negatives: int = 32) -> None:
        super().__init__()
        check_number(temperature, "temperature", above=0)
        check_integer(num_negatives, 0, "num_negatives")
        self.temperature, self.num_negatives = temperature, num_negatives

    def forward(self, queries: Queries) -> Tensor:
        """See :func:`nicd_loss`."""
        return nicd_loss(
            queries.student_logits,
            queries.teacher_logits,
            queries.negatives,
            self.temperature,
            reduction="none",
        )

    def counted(self, queries: Queries) -> Tensor:
        """Those with a negative; in the control, all."""
        return queries.valid & has_negatives(queries.negatives)

    def diagnostics(self, queries: Queries) -> dict[str, Tensor]:
        """The mean similarity of the negatives; 0 in the control."""
        return {"sim": mean_similarity(queries.negatives)}
