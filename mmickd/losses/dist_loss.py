"""Distillation of relations between classes and between samples (DIST)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmickd.losses.base import LogitLoss, divide_by_size, mean_loss, widen
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.distributed import all_gather_with_grad
from mmickd.utils.validation import check_number

Gather = Callable[[Tensor], Tensor]
"""Function that stacks a tensor of one or more ranks along a new first axis, with gradient."""


def _of_this_rank(x: Tensor) -> Tensor:
    """Return ``x`` of this rank alone, ``(1, ...)``."""
    return x[None]


@LOSSES.register_module()
class DISTLoss(LogitLoss):
    """DIST: ``T^2 (beta inter + gamma intra)`` of ``p = softmax(z / T)``.

    ``inter`` of a query is 1 minus Pearson's correlation between its rows of ``p^s`` and ``p^t``;
    ``intra`` is 1 minus the mean over the classes of the correlation between their columns, the
    same for all queries. A column covers the queries of all ranks together.

    Source: Huang et al., 'Knowledge Distillation from A Stronger Teacher' (arXiv 2205.10536),
    equations 6 to 10. Our choice: a row or column of equal numbers has the correlation 0.

    Args:
        beta: Weight of ``inter``, at least 0.
        gamma: Weight of ``intra``, at least 0.
        temperature: ``T`` > 0.
        dense: See :class:`~mmickd.losses.LogitLoss`.

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> DISTLoss()(Queries(-z, z))
        tensor([4., 4.])
    """

    gather: Gather = staticmethod(all_gather_with_grad)

    def __init__(
        self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0, dense: bool = True
    ) -> None:
        super().__init__(dense)
        check_number(beta, "beta", least=0)
        check_number(gamma, "gamma", least=0)
        check_number(temperature, "temperature", above=0)
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``; all ranks call it together."""
        rows = queries.valid[:, None]
        # Before the softmax: NaN of a row that does not count must not reach a column's gradient.
        student = torch.where(rows, widen(queries.student_logits), 0.0)
        teacher = torch.where(rows, widen(queries.teacher_logits.detach()), 0.0)
        p_s = (student / self.temperature).softmax(dim=1)
        p_t = (teacher / self.temperature).softmax(dim=1)
        inter = 1.0 - _correlation(p_s, p_t, rows.expand_as(student), 1, _of_this_rank)
        intra = 1.0 - _correlation(p_s, p_t, rows, 0, self.gather).mean()
        return self.temperature**2 * (self.beta * inter + self.gamma * intra)


class _DISTOfThisRank(DISTLoss):
    gather = staticmethod(_of_this_rank)


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Return the mean of :class:`DISTLoss` over the queries of this rank alone, a scalar.

    The logits are ``(Q, C)``; only the student's get a gradient. The mean is float32 (float64 for
    float64 logits), and 0 with gradient 0 if ``Q`` is 0.

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> dist_loss(z, z).abs() < 1e-6, dist_loss(-z, z)
        (tensor(True), tensor(4.))
    """
    loss = _DISTOfThisRank(beta, gamma, temperature)
    return mean_loss(loss, Queries(student_logits, teacher_logits))


def _correlation(x: Tensor, y: Tensor, counted: Tensor, dim: int, gather: Gather) -> Tensor:
    """Return Pearson's correlation of ``x`` and ``y`` along ``dim`` where ``counted``."""
    count = gather(counted.sum(dim=dim, keepdim=True)).sum(dim=0).clamp(min=1)
    x, y = (_unit_deviation(z, counted, count, dim, gather) for z in (x, y))
    return gather((x * y).sum(dim=dim)).sum(dim=0)


def _unit_deviation(x: Tensor, counted: Tensor, count: Tensor, dim: int, gather: Gather) -> Tensor:
    """Return ``x`` minus its mean along ``dim``, of length 1 or 0; 0 where not ``counted``."""
    x = torch.where(counted, x, 0.0)
    mean = gather(x.sum(dim=dim, keepdim=True)).sum(dim=0) / count
    centered = torch.where(counted, x - mean, 0.0)
    norms = [torch.linalg.vector_norm(z, dim=dim, keepdim=True) for z in (centered, x)]
    length, magnitude = torch.linalg.vector_norm(gather(torch.stack(norms)), dim=0)
    return divide_by_size(centered, length, magnitude)
