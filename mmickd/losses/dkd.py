"""Decoupled knowledge distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, kl_divergence, masked_log_softmax, mean_loss, widen
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.validation import check_number


@LOSSES.register_module()
class DKDLoss(LogitLoss):
    """Decoupled KD: ``T^2 (alpha TCKD + beta NCKD)``, for queries with a label ``y``.

    With ``p = softmax(z / T)``: TCKD is ``KL((p^t_y, 1 - p^t_y) || (p^s_y, 1 - p^s_y))``, NCKD the
    KL of the softmax over all classes but ``y``. Vanilla KD is ``alpha = 1``, ``beta = 1 - p^t_y``.

    Source: Zhao et al., 'Decoupled Knowledge Distillation' (arXiv 2203.08679), equation 7. The
    paper's linear warm-up over the first epochs is ``loss_weight=dict(warmup=...)``.

    Args:
        alpha: Weight of TCKD, at least 0.
        beta: Weight of NCKD, at least 0.
        temperature: ``T`` > 0.
        dense: See :class:`~mmickd.losses.LogitLoss`.

    Example:
        >>> z = torch.tensor([[2.0, 0.0, 0.0]])
        >>> DKDLoss(temperature=1.0)(Queries(-z, z, labels=torch.tensor([0])))
        tensor([1.6670])
    """

    def __init__(
        self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0, dense: bool = True
    ) -> None:
        super().__init__(dense)
        check_number(alpha, "alpha", least=0)
        check_number(beta, "beta", least=0)
        check_number(temperature, "temperature", above=0)
        self.alpha, self.beta, self.temperature = alpha, beta, temperature

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``."""
        student, teacher = widen(queries.student_logits), widen(queries.teacher_logits.detach())
        is_label = F.one_hot(queries.labels.clamp(min=0), student.shape[1]).bool()
        target_s, rest_s = _decoupled(student / self.temperature, is_label)
        target_t, rest_t = _decoupled(teacher / self.temperature, is_label)
        tckd, nckd = kl_divergence(target_t, target_s), kl_divergence(rest_t, rest_s)
        return self.temperature**2 * (self.alpha * tckd + self.beta * nckd)

    def counted(self, queries: Queries) -> Tensor:
        """Count the queries with a label."""
        return queries.valid & (queries.labels >= 0)


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """Return the mean of :class:`DKDLoss` over the queries with a label, a scalar.

    The logits are ``(Q, C)``, the labels ``(Q,)`` int64, below 0 where a query has none. Only the
    student's logits get a gradient. The mean is float32 (float64 for float64 logits), and 0 with
    gradient 0 if no query has a label.

    Example:
        >>> z, label = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
        >>> dkd_loss(z, z, label), dkd_loss(-z, z, label, temperature=1.0)
        (tensor(0.), tensor(1.6670))
    """
    queries = Queries(student_logits, teacher_logits, labels=labels)
    return mean_loss(DKDLoss(alpha, beta, temperature), queries)


def _decoupled(logits: Tensor, is_label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of ``(p_y, 1 - p_y)``, ``(Q, 2)``, and of the softmax without ``y``.

    The logarithm of the softmax is ``(Q, C)``, with 0 at ``y``, which adds nothing to a KL.
    """
    total = logits.logsumexp(dim=1)
    label = logits.masked_fill(~is_label, -torch.inf).logsumexp(dim=1)
    rest = logits.masked_fill(is_label, -torch.inf).logsumexp(dim=1)
    target = torch.stack([label - total, rest - total], dim=1)
    return target, masked_log_softmax(logits, ~is_label)
