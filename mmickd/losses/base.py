"""The base of every distillation loss: a number per query, and which queries count."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

import torch
from mmengine import dist
from torch import Tensor, nn

from mmickd.structures import Context, Queries
from mmickd.utils.validation import check_flag


class BaseLoss(nn.Module, metaclass=ABCMeta):
    """A term of the total loss.

    A subclass says what it wants to be shown by class or instance attributes, and gives one number
    per query; the mean over the queries of all ranks, weight and schedule are the hook's business.
    Registered in :data:`mmickd.registry.LOSSES` it can stand in the hook's ``losses`` under any
    name, also several times. Arguments of ``__init__`` are options of the config; wrong ones raise
    :class:`~mmickd.utils.errors.ICKDError` (``utils.validation``).

    Attributes:
        num_positives (int | None): same-class rows to retrieve for each query; None: all.
        num_negatives (int): rows of other classes to retrieve for each query.
        is_dense (bool): asked once at every location of the batch, as vanilla KD is, and not at the
            queries of a level; it retrieves nothing.
        default_weight (float): ``loss_weight`` where the config names none.
        unsafe_before_training (bool): at full weight from the first step on, a teacher that has
            learnt nothing yet ruins the student through it; the hook then warns.

    Example:
        >>> class Pull(BaseLoss):
        ...     def forward(self, queries):
        ...         return (queries.student_logits - queries.teacher_logits).square().sum(-1)
        >>> Pull().default_weight
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
        """A number per query.

        Args:
            queries: ``Q`` of them.

        Returns:
            ``(Q,)``, with gradient; anything where a query does not count.
        """

    def counted(self, queries: Queries) -> Tensor:
        """``(Q,)`` bool: the queries whose mean is the loss."""
        return queries.valid

    @property
    def retrieves(self) -> bool:
        """Whether it wants a context at all."""
        return self.num_positives != 0 or self.num_negatives != 0

    def diagnostics(self, queries: Queries) -> dict[str, Tensor]:
        """Scalars of its retrieval, which the log shows beside the loss as ``<name>_<key>``.

        Returns:
            Scalars; 'valid': share of the wanted positives that were found, 'sim': mean similarity
            of the positives (without any: of the negatives), 'neg_sim': of the negatives beside
            positives.
        """
        positives, negatives = queries.positives, queries.negatives
        if self.num_positives == 0:
            return {"sim": mean_similarity(negatives)} if self.retrieves else {}
        # a bank with fewer rows than that shows fewer columns
        columns = positives.mask.shape[1] if self.num_positives is None else self.num_positives
        wanted = (queries.labels >= 0).sum() * columns
        shown = {"valid": positives.mask.sum() / wanted.clamp(min=1)}
        shown["sim"] = mean_similarity(positives)
        if self.num_negatives:
            shown["neg_sim"] = mean_similarity(negatives)
        return shown


class LogitLoss(BaseLoss):
    """A loss between the student's own logits and the teacher's; it retrieves nothing.

    Args:
        dense: asked at every location of the batch; False: at the queries of a level, the control
            beside in-context terms, which are asked there (of a segmenter: balanced anchors).

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


def mean_similarity(context: Context) -> Tensor:
    """Mean over all rows that were found; 0 if there are none."""
    return context.similarity.sum() / context.mask.sum().clamp(min=1)


def masked_sum(values: Tensor, counted: Tensor) -> Tensor:
    """Sum of ``(Q,)`` values where ``counted``; 0 with gradient 0 when none is.

    Runs without a host synchronisation: no data-dependent shape, no branch on a tensor.
    """
    # where, not a product: 0 * NaN of a row that does not count would be NaN.
    return torch.where(counted, values, values.new_zeros(())).sum()


def reduce_loss(values: Tensor, counted: Tensor | None, reduction: str = "mean") -> Tensor:
    """The mean over the queries that count, or no reduction: the end of every pure loss function.

    Args:
        values: ``(Q,)`` floating point.
        counted: ``(Q,)`` bool; None: all.
        reduction: 'mean' over what counts, 0 with gradient 0 where nothing does; 'none'.

    Returns:
        Scalar, or ``values``.

    Raises:
        ValueError: if ``reduction`` is none of the two.

    Example:
        >>> reduce_loss(torch.tensor([1.0, 3.0, 8.0]), torch.tensor([True, True, False]))
        tensor(2.)
    """
    if reduction == "none":
        return values
    if reduction != "mean":
        raise ValueError(f"reduction must be 'mean' or 'none', got {reduction!r}")
    if counted is None:
        counted = torch.ones_like(values, dtype=torch.bool)
    return masked_sum(values, counted) / counted.sum().clamp(min=1)


def average_factors(counted: Sequence[Tensor]) -> Tensor:
    """Divisors of each rank's sums that make them means over the queries of all ranks.

    Data-parallel training averages gradients over the ``W`` ranks, which hold different numbers
    of queries that count. A sum divided by their mean number over the ranks gives, after that
    average, the mean over all queries of all ranks. (OpenMMLab's ``avg_factor``.)

    All ranks call this together, with as many terms; no host synchronisation.

    Args:
        counted: ``(Q,)`` bool per term; ``Q`` may differ between terms and ranks.

    Returns:
        ``(len(counted),)`` float32, above 0: 1/W where no rank has a query.

    Example:
        >>> average_factors([torch.tensor([True, True, False]), torch.tensor([False])])
        tensor([2., 1.])
    """
    counts = torch.stack([mask.sum() for mask in counted]).float()
    dist.all_reduce(counts, op="sum")
    return counts.clamp(min=1) / dist.get_world_size()


def labelled(labels: Tensor, valid: Tensor | None = None) -> Tensor:
    """``(Q,)`` bool: the queries with a class, of those that are ``valid`` (None: all)."""
    return labels >= 0 if valid is None else valid & (labels >= 0)


def widen(x: Tensor) -> Tensor:
    """``x`` in float32 at least: half precision overflows in norms and loses small KLs."""
    return x if x.dtype == torch.float64 else x.float()
