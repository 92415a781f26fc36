"""Telling a query from the hardest rows of the bank, whatever their class."""

from __future__ import annotations

from torch import Tensor

from mmickd.losses.nearest import NearestRowsLoss, nearest_rows
from mmickd.losses.nicd import nicd_loss
from mmickd.registry import LOSSES
from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_number


def membership_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    positives: Context,
    negatives: Context,
    num_rows: int = 32,
    temperature: float = 0.5,
    valid: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Classify the student's query as the teacher's view of itself among its nearest rows.

    :func:`~mmickd.losses.nicd_loss` with the ``num_rows`` nearest rows of any class as negatives:
    the class is the instance, and rows of the query's own class are pushed away too.

    Source: the idea of Peng et al., 'Knowledge Distillation with Auxiliary Variable' (AuxKD, ICML
    2024): membership of an instance, classified without parameters against a queue of the teacher's
    features. From its description alone; the formula, on logits, is ours.

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; the teacher's logits of the same queries, a constant.
        positives: same-class rows of the bank, ``(Q, K)``, without the query's own image.
        negatives: other-class rows, ``(Q, N)``.
        num_rows: nearest rows of both together.
        temperature: ``T`` > 0.
        valid: ``(Q,)`` bool; the queries that count (None: all).
        reduction: 'mean' over the queries that have a row, or 'none'.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query has a row; or
        ``(Q,)``.

    Example:
        >>> import torch
        >>> z, none = torch.tensor([[3.0, -3.0]]), Context.empty(torch.zeros(1, 2))
        >>> mask = torch.ones(1, 1, dtype=torch.bool)
        >>> rows = Context(torch.ones(1, 1), -z[None], mask, mask.long())
        >>> bool(membership_loss(z, z, rows, none) < membership_loss(-z, z, rows, none))
        True
    """
    rows = nearest_rows(positives, negatives, num_rows)
    has_row = rows.found if valid is None else rows.found & valid  # NICD counts all at width 0
    return nicd_loss(student_logits, teacher_logits, rows, temperature, has_row, reduction)


@LOSSES.register_module()
class MembershipLoss(NearestRowsLoss):
    """:func:`membership_loss` with its options.

    Args:
        num_rows: nearest rows for each query, at least 1.
        temperature: ``T`` > 0.

    Example:
        >>> MembershipLoss(num_rows=8).num_positives
        8
    """

    def __init__(self, num_rows: int = 32, temperature: float = 0.5) -> None:
        super().__init__(num_rows)
        check_number(temperature, "temperature", above=0)
        self.temperature = temperature

    def forward(self, queries: Queries) -> Tensor:
        """See :func:`membership_loss`."""
        return membership_loss(
            queries.student_logits,
            queries.teacher_logits,
            queries.positives,
            queries.negatives,
            self.num_rows,
            self.temperature,
            reduction="none",
        )
