"""Positive in-context distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import BaseLoss, mean_loss, widen
from mmickd.registry import LOSSES
from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_integer, check_number

CHUNK_ELEMENTS = 2**24
"""Maximum number of probabilities in memory (64 MiB); whole classes as positives have more."""


@LOSSES.register_module()
class PICDLoss(BaseLoss):
    """PICD: KL from the aggregated same-class rows of a query to the student's distribution.

    The loss is ``T^2 KL(p_i || softmax(z^s_i / T))`` with ``p_i = sum_k w_ik softmax(z_k / T)`` and
    ``w_ik = softmax_k(c_ik / tau)`` over the valid positives. A query without a positive does not
    count.

    Source: arXiv 2501.07040 for the role of PICD and the names of its parameters; the formula is
    our choice (the paper's formula was not available to us).

    Args:
        temperature: ``T`` > 0 of both distributions (the paper's gamma_picd).
        sim_temperature: ``tau`` > 0 (the paper's tau_1); ``inf`` gives equal weights.
        num_positives: Positives to retrieve for each query, at least 1; None takes the whole
            class (the paper's 'IC-KD-all').

    Example:
        >>> logits, one = torch.tensor([[[2.0, 0.0]]]), torch.ones(1, 1)
        >>> positives = Context(one, logits, one > 0, torch.zeros(1, 1, dtype=torch.long))
        >>> PICDLoss()(Queries(-logits[0], logits[0], positives=positives))
        tensor([1.5232])
    """

    default_weight = 0.3

    def __init__(
        self,
        temperature: float = 1.0,
        sim_temperature: float = 0.1,
        num_positives: int | None = 16,
    ) -> None:
        super().__init__()
        check_number(temperature, "temperature", above=0)
        check_number(sim_temperature, "sim_temperature", above=0, infinite=True)
        check_integer(num_positives, 1, "num_positives", none=True)
        self.temperature, self.sim_temperature = temperature, sim_temperature
        self.num_positives = num_positives

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``."""
        student = widen(queries.student_logits)
        target = aggregate(queries.positives, self.temperature, self.sim_temperature)
        log_p = F.log_softmax(student / self.temperature, dim=1)
        values = F.kl_div(log_p, target.to(student.dtype), reduction="none").sum(dim=1)
        return self.temperature**2 * values

    def counted(self, queries: Queries) -> Tensor:
        """Count the queries that have a positive."""
        return queries.valid & queries.positives.has_rows


def picd_loss(
    student_logits: Tensor,
    positives: Context,
    temperature: float = 1.0,
    sim_temperature: float = 0.1,
) -> Tensor:
    """Return the mean of :class:`PICDLoss` over the queries that have a positive, a scalar.

    The logits are ``(Q, C)``, the positives ``(Q, K)``; only the logits get a gradient. The mean is
    float32 (float64 for float64 logits), and 0 with gradient 0 if no query has a positive.

    Example:
        >>> logits, one = torch.tensor([[[2.0, 0.0]]]), torch.ones(1, 1)
        >>> positives = Context(one, logits, one > 0, torch.zeros(1, 1, dtype=torch.long))
        >>> picd_loss(-logits[0], positives)
        tensor(1.5232)
    """
    queries = Queries(student_logits, student_logits.detach(), positives=positives)
    return mean_loss(PICDLoss(temperature, sim_temperature), queries)


@torch.no_grad()
def aggregate(context: Context, temperature: float, sim_temperature: float) -> Tensor:
    """Return ``p_i``, the mean of the rows' distributions weighted by similarity.

    Args:
        context: ``(Q, K)``.
        temperature: ``T`` of the rows' distributions.
        sim_temperature: ``tau`` of the weights.

    Returns:
        ``(Q, C)``: a distribution per query; all 0 for a query without a row.
    """
    scores = widen(context.similarity) / sim_temperature
    # The mask comes before the softmax: a masked row must not get a share of the weight.
    scores = scores.masked_fill(~context.mask, -torch.inf)
    weights = torch.nan_to_num(torch.softmax(scores, dim=1), nan=0.0)
    size = max(1, CHUNK_ELEMENTS // max(1, context.logits[:1].numel()))
    pieces = zip(weights.split(size), context.logits.split(size), strict=True)
    return torch.cat(
        [
            torch.einsum("qk,qkc->qc", weight, torch.softmax(widen(logits) / temperature, dim=2))
            for weight, logits in pieces
        ]
    )
