"""Knowledge distillation from the teacher's logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, divide_by_size, kl_divergence, mean_loss, widen
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.validation import check_choice, check_flag, check_number

DIVERGENCES = ("forward", "reverse", "balanced")


@LOSSES.register_module()
class KDLoss(LogitLoss):
    """Vanilla KD: ``T^2 D(p^t, p^s)`` with ``p = softmax(z / T)``.

    ``D`` is the forward divergence ``KL(p^t || p^s)``, the reverse divergence ``KL(p^s || p^t)``,
    or, for 'balanced', both with weights by query: ``w_f KL(p^t || p^s) + w_r KL(p^s || p^t)``. If
    the student is less certain than the teacher (``H(p^s) > H(p^t)``), ``w_r``, whose divergence
    sharpens the student, is ``emphasis`` and ``w_f`` is 1; otherwise the two are swapped.

    Source: Hinton et al., 'Distilling the Knowledge in a Neural Network' (2015), section 2, for the
    forward divergence; BD-KD (arXiv 2212.12965) for balancing both by query with the gap of the
    entropies; logit standardisation (arXiv 2403.01427). Our choice: two weights of 1 and 2, and
    no division of rows of equal logits, whose deviation is 0.

    Args:
        temperature: ``T`` > 0.
        divergence: 'forward', 'reverse' or 'balanced'.
        emphasis: Larger weight of 'balanced', at least 1.
        standardize: True replaces each row ``z`` of both networks' logits by
            ``(z - mean(z)) / deviation(z)`` first (with the unbiased deviation).
        dense: See :class:`~mmickd.losses.LogitLoss`.

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> KDLoss(temperature=1.0)(Queries(z, -z))
        tensor([1.5232, 1.5232])
    """

    def __init__(
        self,
        temperature: float = 4.0,
        divergence: str = "forward",
        emphasis: float = 2.0,
        standardize: bool = False,
        dense: bool = True,
    ) -> None:
        super().__init__(dense)
        check_number(temperature, "temperature", above=0)
        check_choice(divergence, DIVERGENCES, "divergence")
        check_number(emphasis, "emphasis", least=1)
        check_flag(standardize, "standardize")
        self.temperature, self.divergence, self.emphasis = temperature, divergence, emphasis
        self.standardize = standardize

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``."""
        student, teacher = widen(queries.student_logits), widen(queries.teacher_logits.detach())
        if self.standardize:
            student, teacher = _standardized(student), _standardized(teacher)
        log_s = F.log_softmax(student / self.temperature, dim=1)
        log_t = F.log_softmax(teacher / self.temperature, dim=1)
        if self.divergence == "forward":
            values = kl_divergence(log_t, log_s)
        elif self.divergence == "reverse":
            values = kl_divergence(log_s, log_t)
        else:
            is_less_certain = _entropy(log_s.detach()) > _entropy(log_t)
            forward_weight = torch.where(is_less_certain, 1.0, self.emphasis)
            reverse_weight = torch.where(is_less_certain, self.emphasis, 1.0)
            values = forward_weight * kl_divergence(log_t, log_s)
            values = values + reverse_weight * kl_divergence(log_s, log_t)
        return self.temperature**2 * values


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """Return the mean of :class:`KDLoss` over the queries, a scalar.

    The logits are ``(Q, C)``; only the student's get a gradient. The mean is float32 (float64 for
    float64 logits), and 0 with gradient 0 if ``Q`` is 0.

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> kd_loss(z, z), kd_loss(z, -z, temperature=1.0)
        (tensor(0.), tensor(1.5232))
    """
    return mean_loss(KDLoss(temperature), Queries(student_logits, teacher_logits))


def _standardized(logits: Tensor) -> Tensor:
    """Return ``(Q, C)``: each row minus its mean, over its unbiased deviation if that is not 0."""
    centered = logits - logits.mean(dim=1, keepdim=True)
    length = torch.linalg.vector_norm(centered, dim=1, keepdim=True)
    deviation = length / max(1, logits.shape[1] - 1) ** 0.5
    return divide_by_size(centered, deviation, logits.abs().amax(dim=1, keepdim=True))


def _entropy(log_p: Tensor) -> Tensor:
    """Return ``H(p)`` along the last axis."""
    return -(log_p.exp() * log_p).sum(dim=-1)
