"""Positive in-context distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmickd.losses.numerics import masked_mean, widen
from mmickd.registry import MODELS
from mmickd.structures import Context


def picd_loss(
    student_logits: Tensor,
    positives: Context,
    temperature: float = 1.0,
    sim_temperature: float = 0.1,
    avg_factor: Tensor | float | None = None,
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
        avg_factor: what the sum over the queries is divided by; None: the number of queries that
            count. With several ranks it is their mean number (:mod:`mmickd.losses.averaging`).

    Returns:
        Scalar, float32 (float64 for float64 input): mean over the queries that have a positive;
        0 with gradient 0 when none has.
    """
    student = widen(student_logits)
    target = aggregate_positives(positives, temperature, sim_temperature).to(student.dtype)
    log_p = F.log_softmax(student / temperature, dim=1)
    per_query = F.kl_div(log_p, target, reduction="none").sum(dim=1)
    return temperature**2 * masked_mean(per_query, counted_picd(positives), avg_factor)


def counted_picd(positives: Context) -> Tensor:
    """``(Q,)`` bool: the queries that :func:`picd_loss` counts, those with a positive."""
    return positives.mask.any(dim=1)


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
    probabilities = torch.softmax(widen(positives.logits) / temperature, dim=2)
    return torch.einsum("qk,qkc->qc", weights, probabilities)


@MODELS.register_module()
class PICDLoss(nn.Module):
    """:func:`picd_loss` with its options.

    Args:
        temperature: ``T`` > 0 (the paper's gamma_picd).
        sim_temperature: ``tau`` > 0 (the paper's tau_1).
        num_positives: positives to retrieve for each query, at least 1; None takes the whole
            class (the paper's 'IC-KD-all').
    """

    def __init__(
        self,
        temperature: float = 1.0,
        sim_temperature: float = 0.1,
        num_positives: int | None = 16,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.sim_temperature = sim_temperature
        self.num_positives = num_positives

    def forward(
        self,
        student_logits: Tensor,
        positives: Context,
        avg_factor: Tensor | float | None = None,
    ) -> Tensor:
        """See :func:`picd_loss`."""
        return picd_loss(
            student_logits, positives, self.temperature, self.sim_temperature, avg_factor
        )
