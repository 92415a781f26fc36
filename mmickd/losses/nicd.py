"""Negative in-context distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import BaseLoss, mean_loss, mean_similarity, widen
from mmickd.registry import LOSSES
from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_integer, check_number


@LOSSES.register_module()
class NICDLoss(BaseLoss):
    """NICD: InfoNCE with the teacher's query as positive and rows of other classes as negatives.

    With ``cen(x) = x - mean(x)``, ``q_i = cen(z^s_i) / sqrt(||cen(z^s_i)||^2 + 1)`` and
    ``u = cen(z) / ||cen(z)||`` of teacher logits, the loss of query ``i`` is
    ``logsumexp({q_i.u_i} + {q_i.u_n : n in N_i}, each / T) - q_i.u_i / T``.
    The 1 under the root bounds the gradient at small student logits. A query without a negative
    does not count. With ``num_negatives=0``, a control, the loss is ``(1 - q_i.u_i) / T``.

    Source: arXiv 2501.07040 for the role of NICD and the names of its parameters; the formula is
    our choice (the paper's formula was not available to us).

    Args:
        temperature: ``T`` > 0 (the paper's gamma_nicd).
        num_negatives: Negatives to retrieve for each query, the most similar first; 0: the control.

    Example:
        >>> z = torch.tensor([[3.0, -3.0]])
        >>> NICDLoss(num_negatives=0)(Queries(-z, z)), NICDLoss().retrieves
        (tensor([3.9467]), True)
    """

    unsafe_before_training = True

    def __init__(self, temperature: float = 0.5, num_negatives: int = 32) -> None:
        super().__init__()
        check_number(temperature, "temperature", above=0)
        check_integer(num_negatives, 0, "num_negatives")
        self.temperature, self.num_negatives = temperature, num_negatives

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``."""
        student = bounded_direction(widen(queries.student_logits))
        teacher = direction(widen(queries.teacher_logits.detach()))
        positive = (student * teacher).sum(dim=1)
        rows = queries.negatives
        if rows.mask.shape[1] == 0:
            return (1.0 - positive) / self.temperature
        negatives = direction(widen(rows.logits)).to(student.dtype)
        scores = torch.einsum("qc,qnc->qn", student, negatives)
        scores = (scores / self.temperature).masked_fill(~rows.mask, -torch.inf)
        positive = positive / self.temperature
        return torch.cat([positive[:, None], scores], dim=1).logsumexp(dim=1) - positive

    def counted(self, queries: Queries) -> Tensor:
        """Count the queries that have a negative; all in the control."""
        is_control = queries.negatives.mask.shape[1] == 0
        return queries.valid if is_control else queries.valid & queries.negatives.has_rows

    def diagnostics(self, queries: Queries) -> dict[str, Tensor]:
        """Return the mean similarity of the negatives; 0 in the control."""
        return {"sim": mean_similarity(queries.negatives)}


def nicd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    negatives: Context,
    temperature: float = 0.5,
) -> Tensor:
    """Return the mean of :class:`NICDLoss` over the queries that have a negative, a scalar.

    The logits are ``(Q, C)``, the negatives ``(Q, N)``; with ``N = 0`` it is the control. Only the
    student's logits get a gradient. The mean is float32 (float64 for float64 logits), and 0 with
    gradient 0 if no query has a negative.

    Example:
        >>> z = torch.tensor([[3.0, -3.0]])
        >>> float(nicd_loss(z, z, Context.empty(z))) < float(nicd_loss(-z, z, Context.empty(z)))
        True
    """
    queries = Queries(student_logits, teacher_logits, negatives=negatives)
    return mean_loss(NICDLoss(temperature), queries)


def direction(logits: Tensor) -> Tensor:
    """Return ``cen(x) / ||cen(x)||`` along the last axis; 0 for equal logits."""
    return F.normalize(_center(logits), dim=-1)


def bounded_direction(logits: Tensor) -> Tensor:
    """Return ``cen(x) / sqrt(||cen(x)||^2 + 1)`` along the last axis; the 1 bounds its gradient."""
    centered = _center(logits)
    return centered * (centered.square().sum(dim=-1, keepdim=True) + 1.0).rsqrt()


def _center(x: Tensor) -> Tensor:
    """Return ``x`` minus its mean over the last axis (the classes)."""
    return x - x.mean(dim=-1, keepdim=True)
