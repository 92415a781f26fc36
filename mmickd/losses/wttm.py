"""Matching a transformed teacher, weighed by how unsure it is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, reduce_loss, widen
from mmickd.losses.divergences import kl_divergence
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.validation import check_number


def wttm_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    valid: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``U KL(softmax(z^t / T) || softmax(z^s))``, mean over the queries.

    The student has no temperature. ``U = sum_c softmax(z^t)_c^(1/T)``, the sum of the teacher's
    probabilities after the power transform, is 1 for a teacher that is sure and grows with its
    doubt up to ``C^(1 - 1/T)``.

    Source: Zheng and Yang, 'Knowledge Distillation Based on Transformed Teacher Matching' (arXiv
    2402.11148); the default temperature is our choice.

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; taken as a constant.
        temperature: ``T`` > 0 (1 over the paper's gamma).
        valid: ``(Q,)`` bool; the queries that count (None: all).
        reduction: 'mean', or 'none' for a number per query.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query counts; or
        ``(Q,)``.

    Example:
        >>> import torch
        >>> z = torch.tensor([[4.0, 0.0]])
        >>> wttm_loss(z / 4, z), wttm_loss(-z / 4, z, temperature=4.0)
        (tensor(0.), tensor(0.6293))
    """
    student, teacher = widen(student_logits), widen(teacher_logits.detach())
    powers = F.log_softmax(teacher, dim=1) / temperature
    values = kl_divergence(powers.log_softmax(dim=1), student.log_softmax(dim=1))
    return reduce_loss(powers.logsumexp(dim=1).exp() * values, valid, reduction)


@LOSSES.register_module()
class WTTMLoss(LogitLoss):
    """:func:`wttm_loss` with its options.

    Args:
        temperature: ``T`` > 0 of the teacher.
        dense: asked at every location; False: at the queries of a level.

    Example:
        >>> WTTMLoss(temperature=2.0).is_dense
        True
    """

    def __init__(self, temperature: float = 4.0, dense: bool = True) -> None:
        super().__init__(dense)
        check_number(temperature, "temperature", above=0)
        self.temperature = temperature

    def forward(self, queries: Queries) -> Tensor:
        """See :func:`wttm_loss`."""
        return wttm_loss(
            queries.student_logits, queries.teacher_logits, self.temperature, reduction="none"
        )
