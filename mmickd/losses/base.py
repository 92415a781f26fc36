"""Base classes of the losses, and the functions that several losses share."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor, nn

from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_flag, check_integer

ROUNDING = 1e-6
"""Deviation of equal numbers by rounding, relative to their size."""


class BaseLoss(nn.Module, metaclass=ABCMeta):
    """Term of the total loss.

    A subclass sets the rows that it needs as class or instance attributes, and its ``forward``
    returns one number per query. The hook takes the mean over the queries of all ranks and applies
    weight and schedule. A subclass registered in :data:`mmickd.registry.LOSSES` can be used in the
    hook's ``losses`` under any name, also several times. The arguments of ``__init__`` are its
    options in the config; ``mmickd.utils.validation`` raises
    :class:`~mmickd.utils.errors.ICKDError` for bad values.

    Attributes:
        num_positives (int | None): Same-class rows to retrieve for each query; None: all.
        num_negatives (int): Rows of other classes to retrieve for each query.
        is_dense (bool): True if the queries are all locations of the batch, as in vanilla KD; False
            if they are the queries of a level. A dense loss retrieves nothing.
        default_weight (float): ``loss_weight`` where the config sets none.
        unsafe_before_training (bool): True if the loss ruins the student when it has its full
            weight from the first step and the teacher is still untrained; the hook then warns.

    Example:
        >>> class Squares(BaseLoss):
        ...     def forward(self, queries):
        ...         return (queries.student_logits - queries.teacher_logits).square().sum(-1)
        >>> Squares().default_weight
        1.0
    """

    num_positives: int | None = 0
    num_negatives: int = 0
    is_dense: bool = False
    default_weight: float = 1.0
    unsafe_before_training: bool = False

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query.

        Args:
            queries: ``Q`` queries.

        Returns:
            ``(Q,)``, with gradient; arbitrary where a query does not count.
        """

    def counted(self, queries: Queries) -> Tensor:
        """Return ``(Q,)`` bool: True for the queries that the mean is taken over."""
        return queries.valid

    @property
    def retrieves(self) -> bool:
        """True if the loss needs a context."""
        return self.num_positives != 0 or self.num_negatives != 0

    def diagnostics(self, queries: Queries) -> dict[str, Tensor]:
        """Return scalars about the retrieval, logged beside the loss as ``<name>_<key>``.

        Returns:
            Scalars by key. 'valid' is the share of the requested positives that were found, 'sim'
            the mean similarity of the positives (of the negatives for a loss without positives),
            'neg_sim' the mean similarity of the negatives of a loss with positives.
        """
        positives, negatives = queries.positives, queries.negatives
        if self.num_positives == 0:
            return {"sim": mean_similarity(negatives)} if self.retrieves else {}
        # A bank with fewer rows than requested returns fewer columns.
        columns = positives.mask.shape[1] if self.num_positives is None else self.num_positives
        requested = (queries.labels >= 0).sum() * columns
        scalars = {"valid": positives.mask.sum() / requested.clamp(min=1)}
        scalars["sim"] = mean_similarity(positives)
        if self.num_negatives:
            scalars["neg_sim"] = mean_similarity(negatives)
        return scalars


class LogitLoss(BaseLoss):
    """Base of losses between the student's and the teacher's logits, which retrieve nothing.

    Args:
        dense: True if the queries are all locations of the batch; False if they are the queries of
            a level, as for in-context terms (in a segmenter: balanced anchors), for a comparison
            with these terms on the same queries.

    Example:
        >>> class Squares(LogitLoss):
        ...     def forward(self, queries):
        ...         return (queries.student_logits - queries.teacher_logits).square().sum(-1)
        >>> Squares().is_dense, Squares(dense=False).is_dense
        (True, False)
    """

    is_dense = True

    def __init__(self, dense: bool = True) -> None:
        super().__init__()
        check_flag(dense, "dense")
        self.is_dense = dense


class NearestRowsLoss(BaseLoss):
    """Base of losses that use the rows nearest to a query, of any class.

    Args:
        num_rows: Rows for each query, at least 1. The loss requests ``num_rows`` rows of the
            query's class and as many of other classes; :func:`nearest_rows` merges them.
    """

    unsafe_before_training = True

    def __init__(self, num_rows: int) -> None:
        super().__init__()
        check_integer(num_rows, 1, "num_rows")
        self.num_rows = self.num_positives = self.num_negatives = num_rows

    def rows(self, queries: Queries) -> Context:
        """Return the nearest rows of each query."""
        return nearest_rows(queries.positives, queries.negatives, self.num_rows)

    def counted(self, queries: Queries) -> Tensor:
        """Count the queries that have a row."""
        return queries.valid & (queries.positives.has_rows | queries.negatives.has_rows)


def nearest_rows(positives: Context, negatives: Context, count: int) -> Context:
    """Return the ``count`` rows of both contexts that the retriever ranks first.

    They are the nearest rows of the whole bank if both contexts have ``count`` columns; with
    :class:`~mmickd.retrieval.RandomRetriever` they are a uniform draw from the whole bank.

    Args:
        positives: ``(Q, K)``.
        negatives: ``(Q, N)``.
        count: Rows to keep for each query.

    Returns:
        ``(Q, min(count, K + N))``, sorted by falling similarity.

    Example:
        >>> from dataclasses import replace
        >>> mask = torch.ones(1, 2, dtype=torch.bool)
        >>> positives = Context(torch.tensor([[0.9, 0.1]]), torch.zeros(1, 2, 3), mask, mask.long())
        >>> negatives = replace(positives, similarity=torch.tensor([[0.8, 0.7]]))
        >>> nearest_rows(positives, negatives, 3).similarity
        tensor([[0.9000, 0.8000, 0.7000]])
    """
    return positives.cat(negatives).top(count)


def mean_similarity(context: Context) -> Tensor:
    """Return the mean similarity of all rows that were found; 0 if there are none."""
    return context.similarity.sum() / context.mask.sum().clamp(min=1)


def mean_loss(loss: BaseLoss, queries: Queries) -> Tensor:
    """Return the mean of a loss over the queries that count: a scalar, 0 with gradient 0 if none.

    Example:
        >>> class Sums(BaseLoss):
        ...     def forward(self, queries):
        ...         return queries.student_logits.sum(1)
        >>> logits = torch.tensor([[1.0, 0.0], [3.0, 0.0], [8.0, 0.0]])
        >>> mean_loss(Sums(), Queries(logits, logits, valid=torch.tensor([True, True, False])))
        tensor(2.)
    """
    counted = loss.counted(queries)
    return masked_sum(loss(queries), counted) / counted.sum().clamp(min=1)


def masked_sum(values: Tensor, counted: Tensor) -> Tensor:
    """Return the sum of the ``(Q,)`` values where ``counted``; 0 with gradient 0 where none is.

    It runs without a host synchronisation: no data-dependent shape, no branch on a tensor.
    """
    # torch.where, not a product: 0 * NaN of a row that does not count would be NaN.
    return torch.where(counted, values, values.new_zeros(())).sum()


def average_factors(counted: Sequence[Tensor]) -> Tensor:
    """Return the divisors that turn each rank's sums into means over the queries of all ranks.

    Data-parallel training averages gradients over the ``W`` ranks, which hold different numbers
    of queries that count. A sum divided by the mean number per rank becomes, after that average,
    the mean over all queries of all ranks. (OpenMMLab's ``avg_factor``.)

    All ranks call this function together, with equally many terms; no host synchronisation.

    Args:
        counted: ``(Q,)`` bool for each term; ``Q`` may differ between terms and ranks.

    Returns:
        ``(len(counted),)`` float32, above 0: 1/W where no rank has a query.

    Example:
        >>> average_factors([torch.tensor([True, True, False]), torch.tensor([False])])
        tensor([2., 1.])
    """
    counts = torch.stack([mask.sum() for mask in counted]).float()
    dist.all_reduce(counts, op="sum")
    return counts.clamp(min=1) / dist.get_world_size()


def widen(x: Tensor) -> Tensor:
    """Return ``x`` in at least float32: half precision overflows in norms and loses small KLs."""
    return x if x.dtype == torch.float64 else x.float()


def kl_divergence(log_p: Tensor, log_q: Tensor, dim: int = -1) -> Tensor:
    """Return ``KL(p || q)`` along ``dim`` for log-probabilities of equal shape."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=dim)


def masked_log_softmax(x: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Return ``log_softmax`` over the unmasked entries; 0 elsewhere, which adds nothing to a KL.

    Args:
        x: Floating point of any shape; arbitrary where masked.
        mask: bool, shaped as ``x`` or broadcast to it; True for the entries to keep.
        dim: Axis of the outcomes.
    """
    return x.masked_fill(~mask, -torch.inf).log_softmax(dim=dim).masked_fill(~mask, 0.0)


def divide_by_size(centered: Tensor, size: Tensor, magnitude: Tensor) -> Tensor:
    """Return ``centered / size``, or ``centered`` where numbers vary by rounding alone.

    A divisor of 0, or a tiny one, would make gradients infinite or huge.

    Args:
        centered: Numbers minus their mean, of any shape.
        size: Size of their variation, such as a norm; broadcast to ``centered``.
        magnitude: The same measure (or the largest absolute value) of the numbers themselves.
    """
    return centered / torch.where(size > ROUNDING * magnitude, size, 1.0)
