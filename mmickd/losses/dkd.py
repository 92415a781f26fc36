"""Decoupled knowledge distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, labelled, reduce_loss, widen
from mmickd.losses.divergences import kl_divergence, masked_log_softmax
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.validation import check_number


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    valid: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``T^2 (alpha TCKD + beta NCKD)``, mean over the queries with a label.

    With ``p = softmax(z / T)`` and the label ``y``: TCKD is the divergence
    ``KL((p^t_y, 1 - p^t_y) || (p^s_y, 1 - p^s_y))``, NCKD that of the softmax over all classes but
    ``y``. Vanilla KD is ``alpha = 1`` and ``beta = 1 - p^t_y``.

    Source: Zhao et al., 'Decoupled Knowledge Distillation' (arXiv 2203.08679), equation 7. The
    paper lets the loss grow linearly over the first epochs: ``loss_weight=dict(warmup=...)``.

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; taken as a constant.
        labels: ``(Q,)`` int64; a query without one (below 0) does not count.
        alpha: weight of TCKD, at least 0.
        beta: weight of NCKD, at least 0.
        temperature: ``T`` > 0.
        valid: ``(Q,)`` bool; the queries that count (None: all).
        reduction: 'mean', or 'none' for a number per query.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query counts; or
        ``(Q,)``.

    Example:
        >>> teacher, label = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
        >>> dkd_loss(teacher, teacher, label), dkd_loss(-teacher, teacher, label, temperature=1.0)
        (tensor(0.), tensor(1.6670))
    """
    own = F.one_hot(labels.clamp(min=0), student_logits.shape[1]).bool()
    target_s, others_s = _decoupled(widen(student_logits) / temperature, own)
    target_t, others_t = _decoupled(widen(teacher_logits.detach()) / temperature, own)
    values = alpha * kl_divergence(target_t, target_s) + beta * kl_divergence(others_t, others_s)
    return reduce_loss(temperature**2 * values, labelled(labels, valid), reduction)


def _decoupled(logits: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of ``(p_y, 1 - p_y)``, ``(Q, 2)``, and of the softmax over the other classes.

    The latter is ``(Q, C)``, with 0 at the class itself, which then adds nothing to a divergence.
    """
    total = logits.logsumexp(dim=1)
    of_own = logits.masked_fill(~own, -torch.inf).logsumexp(dim=1)
    of_others = logits.masked_fill(own, -torch.inf).logsumexp(dim=1)
    target = torch.stack([of_own - total, of_others - total], dim=1)
    return target, masked_log_softmax(logits, ~own)


@LOSSES.register_module()
class DKDLoss(LogitLoss):
    """:func:`dkd_loss` with its options.

    Args:
        alpha: weight of TCKD, at least 0.
        beta: weight of NCKD, at least 0.
        temperature: ``T`` > 0. The default suits images; for segmenters the hook takes 1.
        dense: asked at every location; False: at the queries of a level.

    Example:
        >>> DKDLoss(beta=2.0).is_dense
        True
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
        """See :func:`dkd_loss`."""
        return dkd_loss(
            queries.student_logits,
            queries.teacher_logits,
            queries.labels,
            self.alpha,
            self.beta,
            self.temperature,
            reduction="none",
        )

    def counted(self, queries: Queries) -> Tensor:
        """Those with a label."""
        return labelled(queries.labels, queries.valid)
