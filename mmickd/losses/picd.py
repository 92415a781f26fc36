"""Positive in-context distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import BaseLoss, reduce_loss, widen
from mmickd.registry import LOSSES
from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_integer, check_number

PIECE_ELEMENTS = 2**24
"""Probabilities that are held at once: 64 MiB. With whole classes as positives they are many."""


def picd_loss(
    student_logits: Tensor,
    positives: Context,
    temperature: float = 1.0,
    sim_temperature: float = 0.1,
    reduction: str = "mean",
) -> Tensor:
    """Pull the student to its aggregated same-class in-context samples.

    ``w_ik = softmax_k(c_ik / tau)`` over the valid positives,
    ``p_i = sum_k w_ik softmax(z_k / T)``, loss ``T^2 mean_i KL(p_i || softmax(z^s_i / T))``.

    Source: the role of PICD and the names of its parameters are those of arXiv 2501.07040; the
    formula is our choice (the paper's is not at hand).

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        positives: same-class rows of the bank, ``(Q, K)``.
        temperature: ``T`` > 0 of both distributions (the paper's gamma_picd).
        sim_temperature: ``tau`` > 0 (the paper's tau_1); ``inf`` gives equal weights.
        reduction: 'mean' over the queries that have a positive, or 'none'.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query has a
        positive; or ``(Q,)``.

    Example:
        >>> logits, one = torch.tensor([[[2.0, 0.0]]]), torch.ones(1, 1)
        >>> positives = Context(one, logits, one > 0, torch.zeros(1, 1, dtype=torch.long))
        >>> picd_loss(-logits[0], positives)
        tensor(1.5232)
    """
    student = widen(student_logits)
    target = aggregate_positives(positives, temperature, sim_temperature).to(student.dtype)
    log_p = F.log_softmax(student / temperature, dim=1)
    values = temperature**2 * F.kl_div(log_p, target, reduction="none").sum(dim=1)
    return reduce_loss(values, positives.found, reduction)


@torch.no_grad()
def aggregate_positives(positives: Context, temperature: float, sim_temperature: float) -> Tensor:
    """The target ``p_i`` of :func:`picd_loss`.

    Returns:
        ``(Q, C)``: a distribution per query; all 0 for a query without a valid positive.
    """
    scores = widen(positives.similarity) / sim_temperature
    # The mask comes before the softmax: a masked row must not take part of the weight.
    scores = scores.masked_fill(~positives.mask, -torch.inf)
    weights = torch.nan_to_num(torch.softmax(scores, dim=1), nan=0.0)
    at_once = max(1, PIECE_ELEMENTS // max(1, positives.logits[:1].numel()))
    targets = [
        torch.einsum("qk,qkc->qc", weight, torch.softmax(widen(logits) / temperature, dim=2))
        for weight, logits in zip(
            weights.split(at_once), positives.logits.split(at_once), strict=True
        )
    ]
    return torch.cat(targets)


@LOSSES.register_module()
class PICDLoss(BaseLoss):
    """:func:`picd_loss` with its options.

    Args:
        temperature: ``T`` > 0 (the paper's gamma_picd).
        sim_temperature: ``tau`` > 0 (the paper's tau_1).
        num_positives: positives to retrieve for each query, at least 1; None takes the whole
            class (the paper's 'IC-KD-all').

    Example:
        >>> PICDLoss(num_positives=4).retrieves
        True
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
        """See :func:`picd_loss`."""
        return picd_loss(
            queries.student_logits,
            queries.positives,
            self.temperature,
            self.sim_temperature,
            reduction="none",
        )

    def counted(self, queries: Queries) -> Tensor:
        """Those with a positive."""
        return queries.valid & queries.positives.found
