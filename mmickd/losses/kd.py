"""Vanilla knowledge distillation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmickd.losses.numerics import every_query, masked_mean, widen
from mmickd.registry import MODELS


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    valid: Tensor | None = None,
    avg_factor: Tensor | float | None = None,
) -> Tensor:
    """``T^2 KL(softmax(z^t / T) || softmax(z^s / T))``, mean over the queries.

    Source: Hinton et al., 'Distilling the Knowledge in a Neural Network' (2015), section 2.

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; taken as a constant.
        temperature: ``T`` > 0.
        valid: ``(Q,)`` bool; the queries that count (None: all).
        avg_factor: what the sum over the queries is divided by; None: the number of queries that
            count. With several ranks it is their mean number (:mod:`mmickd.losses.averaging`).

    Returns:
        Scalar, float32 (float64 for float64 input); 0 with gradient 0 when no query counts.

    Example:
        >>> import torch
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> float(kd_loss(z, z))
        0.0
    """
    student, teacher = widen(student_logits), widen(teacher_logits.detach())
    log_p = F.log_softmax(student / temperature, dim=1)
    log_t = F.log_softmax(teacher / temperature, dim=1)
    per_query = F.kl_div(log_p, log_t, reduction="none", log_target=True).sum(dim=1)
    return temperature**2 * masked_mean(per_query, counted_kd(student, valid), avg_factor)


def counted_kd(student_logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """``(Q,)`` bool: the queries that :func:`kd_loss` counts."""
    return every_query(student_logits) if valid is None else valid


@MODELS.register_module()
class KDLoss(nn.Module):
    """:func:`kd_loss` with its options.

    Args:
        temperature: ``T`` > 0. The default suits images; for pixels the hook takes 1.
    """

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        valid: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
    ) -> Tensor:
        """See :func:`kd_loss`."""
        return kd_loss(student_logits, teacher_logits, self.temperature, valid, avg_factor)
