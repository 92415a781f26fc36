"""Distillation of a query's similarities to the nearest rows of the bank, of any class."""

from __future__ import annotations

import torch
from torch import Tensor

from mmickd.losses.base import NearestRowsLoss, kl_divergence, masked_log_softmax, widen
from mmickd.losses.nicd import bounded_direction, direction
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.validation import check_number


@LOSSES.register_module()
class RelationalLoss(NearestRowsLoss):
    """Relational distillation: ``KL(p^t || p^s)`` of the similarities to the nearest rows.

    With ``q_i`` and ``u`` as in :class:`~mmickd.losses.NICDLoss`, and ``n`` running over the
    ``num_rows`` nearest rows of any class: ``p^s = softmax_n(q_i.u_n / T)``, ``p^t =
    softmax_n(u_i.u_n / T_t)``.

    Source: Giakoumoglou and Stathaki, 'Relational Representation Distillation' (arXiv 2407.12073),
    for the divergence between two similarity distributions, each with a temperature; LightlyTrain
    uses it with a queue. Our choice: nearest rows of the bank instead of a whole queue, equal
    temperatures (the paper's student is sharper), and cosines of centred logits, since features of
    student and teacher differ in width and a loss has no projector.

    Args:
        num_rows: Nearest rows for each query, at least 1.
        temperature: ``T`` > 0 of the student's similarities.
        teacher_temperature: ``T_t`` > 0 of the teacher's similarities.

    Example:
        >>> RelationalLoss(num_rows=8).num_negatives
        8
    """

    def __init__(
        self, num_rows: int = 32, temperature: float = 0.1, teacher_temperature: float = 0.1
    ) -> None:
        super().__init__(num_rows)
        check_number(temperature, "temperature", above=0)
        check_number(teacher_temperature, "teacher_temperature", above=0)
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``."""
        rows = self.rows(queries)
        student = bounded_direction(widen(queries.student_logits))
        teacher = direction(widen(queries.teacher_logits.detach())).to(student.dtype)
        neighbours = direction(widen(rows.logits)).to(student.dtype)

        def log_distribution(query: Tensor, temperature: float) -> Tensor:
            similarity = torch.einsum("qc,qnc->qn", query, neighbours)
            return masked_log_softmax(similarity / temperature, rows.mask)

        log_s = log_distribution(student, self.temperature)
        log_t = log_distribution(teacher, self.teacher_temperature)
        return kl_divergence(log_t, log_s)
