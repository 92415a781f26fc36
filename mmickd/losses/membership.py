"""Instance membership: NICD against the nearest rows of the bank, of any class."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mmickd.losses.base import NearestRowsLoss
from mmickd.losses.nicd import NICDLoss
from mmickd.registry import LOSSES
from mmickd.structures import Queries


@LOSSES.register_module()
class MembershipLoss(NearestRowsLoss):
    """Instance membership: :class:`~mmickd.losses.NICDLoss` with the nearest rows as negatives.

    The student's query is classified among the teacher's outputs for the same query (the target)
    and for the nearest rows: each instance is a class, so rows of the query's class are negatives.

    Source: the idea of Peng et al., 'Knowledge Distillation with Auxiliary Variable' (AuxKD, ICML
    2024): membership of an instance, classified without parameters against a queue of the teacher's
    features. We had only its description; the formula, on logits, is our choice.

    Args:
        num_rows: Nearest rows for each query, at least 1.
        temperature: ``T`` > 0.

    Example:
        >>> MembershipLoss(num_rows=8).num_positives
        8
    """

    def __init__(self, num_rows: int = 32, temperature: float = 0.5) -> None:
        super().__init__(num_rows)
        self.loss = NICDLoss(temperature)
        self.temperature = temperature

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``."""
        return self.loss(replace(queries, negatives=self.rows(queries)))
