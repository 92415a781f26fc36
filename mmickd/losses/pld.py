"""Plackett-Luce distillation: the student learns the teacher's order of the classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, labelled, reduce_loss, widen
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.validation import check_number


def pld_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    valid: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``sum_k a_k (logsumexp({z^s_l : l after or at k}) - z^s_k)``, mean over queries with a label.

    ``k`` goes through the classes in the order of the teacher: the label first, then the others by
    falling teacher logit. ``a_k`` is the teacher's probability of the class, ``softmax(z^t / T)``.
    The first summand is the cross-entropy weighed by the teacher, so that the paper's total has
    no other one: ``task=None`` and this loss alone.

    Source: Bassam et al., 'PLD: A Choice-Theoretic List-Wise Knowledge Distillation' (arXiv
    2506.12542), section 4. The paper names a temperature (4 on CIFAR-100) and not where it acts:
    that it softens the teacher's weights alone is our choice, and the 1.

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; taken as a constant.
        labels: ``(Q,)`` int64; a query without one (below 0) does not count.
        temperature: ``T`` > 0.
        valid: ``(Q,)`` bool; the queries that count (None: all).
        reduction: 'mean', or 'none' for a number per query.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query counts; or
        ``(Q,)``.

    Example:
        >>> right, label = torch.tensor([[4.0, 2.0, 0.0]]), torch.tensor([0])
        >>> bool(pld_loss(right, right, label) < pld_loss(right.flip(1), right, label))
        True
    """
    student, teacher = widen(student_logits), widen(teacher_logits.detach())
    own = F.one_hot(labels.clamp(min=0), student.shape[1]).bool()
    order = teacher.masked_fill(own, torch.inf).argsort(dim=1, descending=True, stable=True)
    weights = (teacher / temperature).softmax(dim=1).gather(1, order)
    ranked = student.gather(1, order)
    left = ranked.flip(1).logcumsumexp(dim=1).flip(1)
    return reduce_loss((weights * (left - ranked)).sum(dim=1), labelled(labels, valid), reduction)


@LOSSES.register_module()
class PLDLoss(LogitLoss):
    """:func:`pld_loss` with its options.

    Args:
        temperature: ``T`` > 0 of the teacher's weights.
        dense: asked at every location; False: at the queries of a level.

    Example:
        >>> PLDLoss(temperature=4.0).is_dense
        True
    """

    def __init__(self, temperature: float = 1.0, dense: bool = True) -> None:
        super().__init__(dense)
        check_number(temperature, "temperature", above=0)
        self.temperature = temperature

    def forward(self, queries: Queries) -> Tensor:
        """See :func:`pld_loss`."""
        return pld_loss(
            queries.student_logits,
            queries.teacher_logits,
            queries.labels,
            self.temperature,
            reduction="none",
        )

    def counted(self, queries: Queries) -> Tensor:
        """Those with a label."""
        return labelled(queries.labels, queries.valid)
