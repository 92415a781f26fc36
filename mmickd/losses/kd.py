"""Knowledge distillation from the teacher's logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmickd.losses.numerics import every_query, masked_mean, widen
from mmickd.registry import MODELS

DIVERGENCES = ("forward", "reverse", "balanced")


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    valid: Tensor | None = None,
    avg_factor: Tensor | float | None = None,
    divergence: str = "forward",
    emphasis: float = 2.0,
) -> Tensor:
    """``T^2 D(p^t, p^s)`` with ``p = softmax(z / T)``, mean over the queries.

    ``D`` is the forward divergence ``KL(p^t || p^s)``, the reverse one ``KL(p^s || p^t)``, or, for
    'balanced', both with weights by query: ``w_f KL(p^t || p^s) + w_r KL(p^s || p^t)``. Where the
    student is less sure than the teacher (``H(p^s) > H(p^t)``), the reverse one, which sharpens,
    has the weight ``emphasis`` and the forward one 1; elsewhere it is the other way round.

    Source: Hinton et al., 'Distilling the Knowledge in a Neural Network' (2015), section 2, for the
    forward divergence; BD-KD (arXiv 2212.12965) for balancing both by query with the gap of the
    entropies. Two weights with 2 as the larger are our choice.

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; taken as a constant.
        temperature: ``T`` > 0.
        valid: ``(Q,)`` bool; the queries that count (None: all).
        avg_factor: what the sum over the queries is divided by; None: the number of queries that
            count. With several ranks it is their mean number (:mod:`mmickd.losses.averaging`).
        divergence: 'forward', 'reverse' or 'balanced'.
        emphasis: larger weight of 'balanced', at least 1.

    Returns:
        Scalar, float32 (float64 for float64 input); 0 with gradient 0 when no query counts.

    Example:
        >>> import torch
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> float(kd_loss(z, z))
        0.0
    """
    student, teacher = widen(student_logits), widen(teacher_logits.detach())
    log_s = F.log_softmax(student / temperature, dim=1)
    log_t = F.log_softmax(teacher / temperature, dim=1)
    if divergence == "forward":
        per_query = _kl(log_t, log_s)
    elif divergence == "reverse":
        per_query = _kl(log_s, log_t)
    else:
        unsure = _entropy(log_s.detach()) > _entropy(log_t)
        forward_weight = torch.where(unsure, 1.0, emphasis)
        reverse_weight = torch.where(unsure, emphasis, 1.0)
        per_query = forward_weight * _kl(log_t, log_s) + reverse_weight * _kl(log_s, log_t)
    return temperature**2 * masked_mean(per_query, counted_kd(student, valid), avg_factor)


def counted_kd(student_logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """``(Q,)`` bool: the queries that :func:`kd_loss` counts."""
    return every_query(student_logits) if valid is None else valid


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``(Q,)`` divergences ``KL(p || q)`` of ``(Q, C)`` log-probabilities."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


def _entropy(log_p: Tensor) -> Tensor:
    """``(Q,)`` entropies of ``(Q, C)`` log-probabilities."""
    return -(log_p.exp() * log_p).sum(dim=1)


@MODELS.register_module()
class KDLoss(nn.Module):
    """:func:`kd_loss` with its options.

    Args:
        temperature: ``T`` > 0. The default suits images; for pixels the hook takes 1.
        divergence: 'forward', 'reverse' or 'balanced'.
        emphasis: larger weight of 'balanced', at least 1.
    """

    def __init__(
        self, temperature: float = 4.0, divergence: str = "forward", emphasis: float = 2.0
    ) -> None:
        super().__init__()
        self.temperature, self.divergence, self.emphasis = temperature, divergence, emphasis

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        valid: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
    ) -> Tensor:
        """See :func:`kd_loss`."""
        return kd_loss(
            student_logits,
            teacher_logits,
            self.temperature,
            valid,
            avg_factor,
            self.divergence,
            self.emphasis,
        )
