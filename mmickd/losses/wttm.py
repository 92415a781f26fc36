"""Weighted transformed teacher matching."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, kl_divergence, widen
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.validation import check_number


@LOSSES.register_module()
class WTTMLoss(LogitLoss):
    """WTTM: ``U KL(softmax(z^t / T) || softmax(z^s))``; the student has no temperature.

    ``U = sum_c softmax(z^t)_c^(1/T)`` is the sum of the teacher's probabilities after the power
    transform. It is 1 for a one-hot prediction and grows with its entropy up to ``C^(1 - 1/T)``.

    Source: Zheng and Yang, 'Knowledge Distillation Based on Transformed Teacher Matching' (arXiv
    2402.11148); the default temperature is our choice.

    Args:
        temperature: ``T`` > 0 of the teacher (1 over the paper's gamma).
        dense: See :class:`~mmickd.losses.LogitLoss`.

    Example:
        >>> import torch
        >>> z = torch.tensor([[4.0, 0.0]])
        >>> WTTMLoss()(Queries(-z / 4, z))
        tensor([0.6293])
    """

    def __init__(self, temperature: float = 4.0, dense: bool = True) -> None:
        super().__init__(dense)
        check_number(temperature, "temperature", above=0)
        self.temperature = temperature

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``."""
        student, teacher = widen(queries.student_logits), widen(queries.teacher_logits.detach())
        powers = F.log_softmax(teacher, dim=1) / self.temperature
        values = kl_divergence(powers.log_softmax(dim=1), student.log_softmax(dim=1))
        return powers.logsumexp(dim=1).exp() * values
