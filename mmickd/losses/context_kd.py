"""Vanilla KD whose target is, in part, the teacher's answers to the nearest rows of the bank."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, reduce_loss, widen
from mmickd.losses.nearest import NearestRowsLoss, nearest_rows
from mmickd.losses.picd import aggregate_positives
from mmickd.registry import LOSSES, build_part
from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_number


def context_kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    context: Context,
    mix: float = 1.0,
    temperature: float = 1.0,
    sim_temperature: float = 0.1,
    valid: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``T^2 KL(t || softmax(z^s / T))`` with ``t = (1 - a) softmax(z / T) + a p``.

    ``p_i = sum_k w_ik softmax(z_k / T)`` with ``w_ik = softmax_k(c_ik / tau)`` is the vote of the
    query's context: the target of :func:`~mmickd.losses.picd_loss`, of whatever class the rows are.
    A teacher that has learnt wrong labels by heart repeats them for the pictures that bear them;
    the rows around a picture do not share its error. A query without a row keeps the teacher's
    own answer.

    Source: our choice. That neighbours in feature space outvote wrong labels is old (for deep
    features: Bahri et al., 'Deep k-NN for noisy labels', ICML 2020).

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; the teacher's logits of the same queries, a constant.
        context: rows of the bank, ``(Q, K)``.
        mix: ``a`` in [0, 1]: the context's share of the target; 0 is vanilla KD.
        temperature: ``T`` > 0 of all distributions.
        sim_temperature: ``tau`` > 0; ``inf`` gives equal votes.
        valid: ``(Q,)`` bool; the queries that count (None: all).
        reduction: 'mean' over the queries that count, or 'none'.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query counts; or
        ``(Q,)``.

    Example:
        >>> z = torch.tensor([[2.0, 0.0]])
        >>> one = torch.ones(1, 1)
        >>> rows = Context(one, -z[:, None], one > 0, torch.zeros(1, 1, dtype=torch.long))
        >>> context_kd_loss(z, z, rows)
        tensor(1.5232)
    """
    student = widen(student_logits)
    target = context_target(teacher_logits, context, mix, temperature, sim_temperature)
    log_s = F.log_softmax(student / temperature, dim=1)
    target = target.to(student.dtype)
    values = temperature**2 * F.kl_div(log_s, target, reduction="none").sum(dim=1)
    counted = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    return reduce_loss(values, counted, reduction)


@torch.no_grad()
def context_target(
    teacher_logits: Tensor,
    context: Context,
    mix: float = 1.0,
    temperature: float = 1.0,
    sim_temperature: float = 0.1,
) -> Tensor:
    """``(Q, C)``: the distributions ``t`` of :func:`context_kd_loss`, with its arguments."""
    own = F.softmax(widen(teacher_logits) / temperature, dim=1)
    votes = aggregate_positives(context, temperature, sim_temperature).to(own.dtype)
    return torch.where(context.found[:, None], (1 - mix) * own + mix * votes, own)


@LOSSES.register_module()
class ContextKDLoss(NearestRowsLoss):
    """:func:`context_kd_loss` towards the nearest rows of the bank, whatever their class.

    It replaces vanilla KD: ``losses=dict(kd=dict(type='ContextKDLoss'), picd=None, nicd=None)``. Of
    labels that may be wrong the task's own loss learns what is wrong: give it a small weight, or
    none (``task=dict(loss_weight=0.0)``).

    Args:
        mix: ``a`` in [0, 1]: the context's share of the target; 0 is vanilla KD.
        temperature: ``T`` > 0 of all distributions.
        sim_temperature: ``tau`` > 0; ``inf`` gives equal votes.
        num_rows: rows for each query, at least 1.
        loss: config of another loss between logits, as ``dict(type='DISTLoss')``, that shall have
            this target: it is given ``T log t`` for the teacher's logits. None: KD.

    Example:
        >>> ContextKDLoss(num_rows=8, loss=dict(type="DISTLoss")).num_negatives
        8
    """

    def __init__(
        self,
        mix: float = 1.0,
        temperature: float = 1.0,
        sim_temperature: float = 0.1,
        num_rows: int = 16,
        loss: Any = None,
    ) -> None:
        super().__init__(num_rows)
        check_number(mix, "mix", least=0, most=1)
        check_number(temperature, "temperature", above=0)
        check_number(sim_temperature, "sim_temperature", above=0, infinite=True)
        self.mix, self.temperature, self.sim_temperature = mix, temperature, sim_temperature
        default = dict(type="KDLoss", temperature=temperature) if loss is None else loss
        self.loss = build_part(LOSSES, default, "KDLoss", "loss", base=LogitLoss)

    def forward(self, queries: Queries) -> Tensor:
        """See :func:`context_kd_loss`."""
        target = context_target(
            queries.teacher_logits,
            nearest_rows(queries.positives, queries.negatives, self.num_rows),
            self.mix,
            self.temperature,
            self.sim_temperature,
        )
        # T log t, of which softmax(. / T) makes t again; log 0 would be -inf, and 0 * -inf NaN
        log = target.clamp(min=torch.finfo(target.dtype).tiny).log()
        return self.loss(queries.with_teacher_logits(self.temperature * log))

    def counted(self, queries: Queries) -> Tensor:
        """All: without a row the teacher's own answer is the target."""
        return queries.valid
