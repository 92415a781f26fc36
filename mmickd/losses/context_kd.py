"""KD whose target is, in part, the averaged predictions of the nearest rows of the bank."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, NearestRowsLoss, widen
from mmickd.losses.picd import aggregate
from mmickd.registry import LOSSES, build_part
from mmickd.structures import Queries
from mmickd.utils.validation import check_number


@LOSSES.register_module()
class ContextKDLoss(NearestRowsLoss):
    """Vanilla KD, or another loss between logits, with neighbour targets.

    The loss is ``T^2 KL(t || softmax(z^s / T))`` with ``t = (1 - a) softmax(z^t / T) + a p``. The
    neighbour target ``p_i = sum_k w_ik softmax(z_k / T)`` with ``w_ik = softmax_k(c_ik / tau)``
    averages the teacher's predictions for the nearest rows of any class. A teacher that
    memorised label errors predicts them for the images that have them; the neighbours of such an
    image do not share its error. The target of a query without a row is the teacher's prediction.

    This loss replaces vanilla KD: ``losses=dict(kd=dict(type='ContextKDLoss'), picd=None,
    nicd=None)``. The task's own loss still fits the label errors: give it a small weight, or switch
    it off by ``task=dict(loss_weight=0.0)``.

    Source: our choice. Correcting label errors by neighbours in feature space is old (for deep
    features: Bahri et al., 'Deep k-NN for noisy labels', ICML 2020).

    Args:
        mix: ``a`` in [0, 1]: weight of the neighbour target; 0 is vanilla KD.
        temperature: ``T`` > 0 of all distributions.
        sim_temperature: ``tau`` > 0; ``inf`` gives equal weights.
        num_rows: Rows for each query, at least 1.
        loss: Config of another loss between logits, such as ``dict(type='DISTLoss')``; its teacher
            logits are ``T log t``. None: KD.

    Example:
        >>> from mmickd.structures import Context
        >>> z, one = torch.tensor([[2.0, 0.0]]), torch.ones(1, 1)
        >>> rows = Context(one, -z[:, None], one > 0, torch.zeros(1, 1, dtype=torch.long))
        >>> ContextKDLoss()(Queries(z, z, positives=rows))
        tensor([1.5232])
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
        config = dict(type="KDLoss", temperature=temperature) if loss is None else loss
        self.loss = build_part(LOSSES, config, "KDLoss", "loss", base=LogitLoss)

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``."""
        target = self.target(queries)
        # softmax(T log t / T) is t again. log 0 would be -inf, and 0 * -inf NaN.
        log_target = target.clamp(min=torch.finfo(target.dtype).tiny).log()
        return self.loss(replace(queries, teacher_logits=self.temperature * log_target))

    @torch.no_grad()
    def target(self, queries: Queries) -> Tensor:
        """Return the distributions ``t``, ``(Q, C)``."""
        rows = self.rows(queries)
        teacher = F.softmax(widen(queries.teacher_logits) / self.temperature, dim=1)
        neighbours = aggregate(rows, self.temperature, self.sim_temperature).to(teacher.dtype)
        mixed = (1 - self.mix) * teacher + self.mix * neighbours
        return torch.where(rows.has_rows[:, None], mixed, teacher)

    def counted(self, queries: Queries) -> Tensor:
        """Count all valid queries: without a row the teacher's prediction is the target."""
        return queries.valid
