"""Distillation of a query's similarities to the nearest rows of the bank, whatever their class."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.losses.base import reduce_loss, widen
from mmickd.losses.divergences import kl_divergence, masked_log_softmax
from mmickd.losses.nearest import NearestRowsLoss, nearest_rows
from mmickd.losses.nicd import bounded_direction, direction
from mmickd.registry import LOSSES
from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_number


def relational_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    positives: Context,
    negatives: Context,
    num_rows: int = 32,
    temperature: float = 0.1,
    teacher_temperature: float = 0.1,
    valid: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``KL(p^t || p^s)`` of the similarities to the nearest rows, mean over the queries.

    With ``q_i`` and ``u`` as in :func:`~mmickd.losses.nicd_loss` and ``n`` through the ``num_rows``
    nearest rows of any class: ``p^s = softmax_n(q_i.u_n / T)``, ``p^t = softmax_n(u_i.u_n / T_t)``.

    Source: Giakoumoglou and Stathaki, 'Relational Representation Distillation' (arXiv 2407.12073),
    for the divergence between similarity distributions with a temperature each; LightlyTrain
    distils so from a queue. Our choice: nearest rows of the bank instead of a whole queue, equal
    temperatures (the paper's student is sharper), and cosines of centred logits, since features of
    student and teacher differ in width and a loss has no projector.

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; the teacher's logits of the same queries, a constant.
        positives: same-class rows of the bank, ``(Q, K)``.
        negatives: other-class rows, ``(Q, N)``.
        num_rows: nearest rows of both together.
        temperature: ``T`` > 0 of the student's similarities.
        teacher_temperature: ``T_t`` > 0 of the teacher's.
        valid: ``(Q,)`` bool; the queries that count (None: all).
        reduction: 'mean' over the queries that have a row, or 'none'.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query has a row; or
        ``(Q,)``.

    Example:
        >>> z, none = torch.tensor([[3.0, -3.0]]), Context.empty(torch.zeros(1, 2))
        >>> mask = torch.ones(1, 2, dtype=torch.bool)
        >>> rows = Context(torch.ones(1, 2), torch.stack([z, -z], dim=1), mask, mask.long())
        >>> bool(relational_loss(z, z, rows, none) < relational_loss(-z, z, rows, none))
        True
    """
    rows = nearest_rows(positives, negatives, num_rows)
    student, teacher = widen(student_logits), widen(teacher_logits.detach())
    others = direction(widen(rows.logits)).to(student.dtype)

    def log_distribution(query: Tensor, sharpness: float) -> Tensor:
        similarity = torch.einsum("qc,qnc->qn", query, others)
        return masked_log_softmax(similarity / sharpness, rows.mask)

    log_s = log_distribution(bounded_direction(student), temperature)
    log_t = log_distribution(direction(teacher).to(student.dtype), teacher_temperature)
    counted = rows.found if valid is None else rows.found & valid
    return reduce_loss(kl_divergence(log_t, log_s), counted, reduction)


@LOSSES.register_module()
class RelationalLoss(NearestRowsLoss):
    """:func:`relational_loss` with its options.

    Args:
        num_rows: nearest rows for each query, at least 1.
        temperature: > 0, of the student's similarities.
        teacher_temperature: > 0, of the teacher's.

    Example:
        >>> RelationalLoss(num_rows=8).num_negatives
        8
    """

    def __init__(
        self, num_rows: int = 32, temperature: float = 0.1, teacher_temperature: float = 0.1
    ) -> None:
        super().__init__(num_rows)
        check_number(temperature, "temperature", above=0)
        check_number(teacher_temperature, "teacher_temperature", above=0)
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def forward(self, queries: Queries) -> Tensor:
        """See :func:`relational_loss`."""
        return relational_loss(
            queries.student_logits,
            queries.teacher_logits,
            queries.positives,
            queries.negatives,
            self.num_rows,
            self.temperature,
            self.teacher_temperature,
            reduction="none",
        )
