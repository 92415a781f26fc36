"""Plackett-Luce distillation of the teacher's order of the classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, widen
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.validation import check_number


@LOSSES.register_module()
class PLDLoss(LogitLoss):
    """PLD: ``sum_k a_k (logsumexp({z^s_l : l after or at k}) - z^s_k)``, for queries with a label.

    ``k`` runs over the classes in the order of the teacher: the label first, then the other classes
    by falling teacher logit. ``a_k`` is the teacher's probability of class ``k``,
    ``softmax(z^t / T)``. The first summand is a cross-entropy with the teacher's weight. So the
    paper trains with this loss alone: set ``task=None``.

    Source: Bassam et al., 'PLD: A Choice-Theoretic List-Wise Knowledge Distillation' (arXiv
    2506.12542), section 4. The paper names a temperature (4 on CIFAR-100) but not where it acts;
    our choice: it softens the teacher's weights alone, and its default is 1.

    Args:
        temperature: ``T`` > 0 of the teacher's weights.
        dense: See :class:`~mmickd.losses.LogitLoss`.

    Example:
        >>> z = torch.tensor([[4.0, 2.0, 0.0], [0.0, 2.0, 4.0]])
        >>> PLDLoss()(Queries(z, z[:1].expand(2, 3), labels=torch.tensor([0, 0])))
        tensor([0.1388, 3.8407])
    """

    def __init__(self, temperature: float = 1.0, dense: bool = True) -> None:
        super().__init__(dense)
        check_number(temperature, "temperature", above=0)
        self.temperature = temperature

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``."""
        student, teacher = widen(queries.student_logits), widen(queries.teacher_logits.detach())
        is_label = F.one_hot(queries.labels.clamp(min=0), student.shape[1]).bool()
        order = teacher.masked_fill(is_label, torch.inf).argsort(
            dim=1, descending=True, stable=True
        )
        weights = (teacher / self.temperature).softmax(dim=1).gather(1, order)
        ranked = student.gather(1, order)
        remaining = ranked.flip(1).logcumsumexp(dim=1).flip(1)
        return (weights * (remaining - ranked)).sum(dim=1)

    def counted(self, queries: Queries) -> Tensor:
        """Count the queries with a label."""
        return queries.valid & (queries.labels >= 0)
