"""Distillation of relations between classes and between samples (DIST)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmickd.losses.base import LogitLoss, reduce_loss, widen
from mmickd.losses.scaling import divide_by_size
from mmickd.registry import LOSSES
from mmickd.structures import Queries
from mmickd.utils.distributed import all_gather_with_grad
from mmickd.utils.validation import check_number

OfRanks = Callable[[Tensor], Tensor]
"""Stacks a tensor of one rank or more along a new first axis, with gradient."""


def of_this_rank(x: Tensor) -> Tensor:
    """``(1, ...)``: nobody else is asked."""
    return x[None]


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
    valid: Tensor | None = None,
    reduction: str = "mean",
    of_ranks: OfRanks = of_this_rank,
) -> Tensor:
    """``T^2 (beta inter + gamma intra)`` of ``p = softmax(z / T)``.

    ``inter`` is 1 minus the mean over the queries of the correlation (Pearson's) between their rows
    of ``p^s`` and ``p^t``; ``intra`` is 1 minus the mean over the classes of the correlation
    between their columns.

    Source: Huang et al., 'Knowledge Distillation from A Stronger Teacher' (arXiv 2205.10536),
    equations 6 to 10. Our choice: a row or column of equal numbers has the correlation 0.

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        teacher_logits: ``(Q, C)``; taken as a constant.
        beta: weight of ``inter``, at least 0.
        gamma: weight of ``intra``, at least 0.
        temperature: ``T`` > 0.
        valid: ``(Q,)`` bool; the queries that count (None: all). Others are in no column.
        reduction: 'mean', or 'none' for a number per query, of which ``intra`` is the same for all.
        of_ranks: gives a tensor of this rank and of those whose queries are in the same columns;
            :func:`~mmickd.utils.distributed.all_gather_with_grad` makes a column that of the whole
            batch, for which all ranks call it together.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query counts; or
        ``(Q,)``.

    Example:
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> dist_loss(z, z).abs() < 1e-6, dist_loss(-z, z)
        (tensor(True), tensor(4.))
    """
    counted = torch.ones_like(student_logits[:, 0], dtype=torch.bool) if valid is None else valid
    rows = counted[:, None]
    # Before the softmax: what does not count must not reach a column, nor its gradient, as NaN.
    student = torch.where(rows, widen(student_logits), 0.0)
    teacher = torch.where(rows, widen(teacher_logits.detach()), 0.0)
    pair = (student / temperature).softmax(dim=1), (teacher / temperature).softmax(dim=1)
    inter = 1.0 - _correlation(*pair, rows.expand_as(student), 1, of_this_rank)
    intra = 1.0 - _correlation(*pair, rows, 0, of_ranks).mean()
    return reduce_loss(temperature**2 * (beta * inter + gamma * intra), counted, reduction)


def _correlation(x: Tensor, y: Tensor, counted: Tensor, dim: int, of_ranks: OfRanks) -> Tensor:
    """Pearson's correlation along ``dim`` of what counts on these ranks."""
    count = of_ranks(counted.sum(dim=dim, keepdim=True)).sum(dim=0).clamp(min=1)
    x, y = (_unit_deviation(z, counted, count, dim, of_ranks) for z in (x, y))
    return of_ranks((x * y).sum(dim=dim)).sum(dim=0)


def _unit_deviation(
    x: Tensor, counted: Tensor, count: Tensor, dim: int, of_ranks: OfRanks
) -> Tensor:
    """Deviation from the mean along ``dim``, of length 1 if there is any; 0 where not counted."""
    x = torch.where(counted, x, 0.0)
    mean = of_ranks(x.sum(dim=dim, keepdim=True)).sum(dim=0) / count
    centered = torch.where(counted, x - mean, 0.0)
    own = [torch.linalg.vector_norm(z, dim=dim, keepdim=True) for z in (centered, x)]
    length, magnitude = torch.linalg.vector_norm(of_ranks(torch.stack(own)), dim=0)
    return divide_by_size(centered, length, magnitude)


@LOSSES.register_module()
class DISTLoss(LogitLoss):
    """:func:`dist_loss` with its options; a column is that of the batches of all ranks together.

    Args:
        beta: weight of the relation between classes, at least 0.
        gamma: weight of the relation between queries, at least 0.
        temperature: ``T`` > 0.
        dense: asked at every location; False: at the queries of a level.

    Example:
        >>> DISTLoss(gamma=2.0).is_dense
        True
    """

    def __init__(
        self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0, dense: bool = True
    ) -> None:
        super().__init__(dense)
        check_number(beta, "beta", least=0)
        check_number(gamma, "gamma", least=0)
        check_number(temperature, "temperature", above=0)
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def forward(self, queries: Queries) -> Tensor:
        """See :func:`dist_loss`."""
        return dist_loss(
            queries.student_logits,
            queries.teacher_logits,
            self.beta,
            self.gamma,
            self.temperature,
            queries.valid,
            reduction="none",
            of_ranks=all_gather_with_grad,
        )
