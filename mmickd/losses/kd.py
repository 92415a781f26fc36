"""Knowledge distillation from the teacher's logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, reduce_loss, widen
from mmickd.losses.divergences import entropy, kl_divergence
from mmickd.losses.scaling import divide_by_size
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.validation import check_choice, check_flag, check_number

DIVERGENCES = ("forward", "reverse", "balanced")


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    valid: Tensor | None = None,
    divergence: str = "forward",
    emphasis: float = 2.0,
    reduction: str = "mean",
    standardize: bool = False,
) -> Tensor:
    """``T^2 D(p^t, p^s)`` with ``p = softmax(z / T)``, mean over the queries.

    ``D`` is the forward divergence ``KL(p^t || p^s)``, the reverse one ``KL(p^s || p^t)``, or, for
    'balanced', both with weights by query: ``w_f KL(p^t || p^s) + w_r KL(p^s || p^t)``. Where the
    student is less sure than the teacher (``H(p^s) > H(p^t)``), the reverse one, which sharpens,
    has the weight ``emphasis`` and the forward one 1; elsewhere it is the other way round.

    Source: Hinton et al., 'Distilling the Knowledge in a Neural Network' (2015), section 2, for the
    forward divergence; BD-KD (arXiv 2212.12965) for balancing both by query with the gap of the
    entropies; logit standardisation (arXiv 2403.01427). Two weights with 2 as the larger are our
    choice, and that rows of equal logits, which have no deviation, are not divided by it.

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; taken as a constant.
        temperature: ``T`` > 0.
        valid: ``(Q,)`` bool; the queries that count (None: all).
        divergence: 'forward', 'reverse' or 'balanced'.
        emphasis: larger weight of 'balanced', at least 1.
        reduction: 'mean', or 'none' for a number per query.
        standardize: first replace each row ``z`` of logits, the student's and the teacher's, by
            ``(z - mean(z)) / deviation(z)`` (the unbiased deviation).

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query counts; or
        ``(Q,)``.

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> kd_loss(z, z), kd_loss(z, -z, temperature=1.0)
        (tensor(0.), tensor(1.5232))
    """
    student, teacher = widen(student_logits), widen(teacher_logits.detach())
    if standardize:
        student, teacher = standardized(student), standardized(teacher)
    log_s = F.log_softmax(student / temperature, dim=1)
    log_t = F.log_softmax(teacher / temperature, dim=1)
    if divergence == "forward":
        values = kl_divergence(log_t, log_s)
    elif divergence == "reverse":
        values = kl_divergence(log_s, log_t)
    else:
        unsure = entropy(log_s.detach()) > entropy(log_t)
        forward_weight = torch.where(unsure, 1.0, emphasis)
        reverse_weight = torch.where(unsure, emphasis, 1.0)
        values = forward_weight * kl_divergence(log_t, log_s)
        values = values + reverse_weight * kl_divergence(log_s, log_t)
    return reduce_loss(temperature**2 * values, valid, reduction)


def standardized(logits: Tensor) -> Tensor:
    """``(Q, C)``: each row minus its mean, over its unbiased deviation if it has one."""
    centered = logits - logits.mean(dim=1, keepdim=True)
    length = torch.linalg.vector_norm(centered, dim=1, keepdim=True)
    deviation = length / max(1, logits.shape[1] - 1) ** 0.5
    return divide_by_size(centered, deviation, logits.abs().amax(dim=1, keepdim=True))


@LOSSES.register_module()
class KDLoss(LogitLoss):
    """:func:`kd_loss` with its options.

    Args:
        temperature: ``T`` > 0. The default suits images; for segmenters the hook takes 1.
        divergence: 'forward', 'reverse' or 'balanced'.
        emphasis: larger weight of 'balanced', at least 1.
        standardize: whether rows of logits are standardised first.
        dense: asked at every location; False: at the queries of a level.

    Example:
        >>> KDLoss(temperature=2.0).is_dense
        True
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
        """See :func:`kd_loss`."""
        return kd_loss(
            queries.student_logits,
            queries.teacher_logits,
            self.temperature,
            divergence=self.divergence,
            emphasis=self.emphasis,
            reduction="none",
            standardize=self.standardize,
        )
