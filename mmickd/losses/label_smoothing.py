"""Label smoothing as a term: a control without any teacher."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, reduce_loss, widen
from mmickd.registry import LOSSES
from mmickd.structures import Queries


def label_smoothing_loss(
    student_logits: Tensor, valid: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """``-mean_c log p_c`` with ``p = softmax(z)``, mean over the queries.

    With the weight ``e`` beside ``1 - e`` times the cross-entropy it is the cross-entropy with
    labels smoothed by ``e`` (Szegedy et al., arXiv 1512.00567, section 7).

    Args:
        student_logits: ``(Q, C)``; carries the gradient.
        valid: ``(Q,)`` bool; the queries that count (None: all).
        reduction: 'mean', or 'none' for a number per query.

    Returns:
        Scalar, float32 (float64 for float64 input), 0 with gradient 0 when no query counts; or
        ``(Q,)``.

    Example:
        >>> import torch
        >>> label_smoothing_loss(torch.zeros(1, 2))
        tensor(0.6931)
    """
    values = -F.log_softmax(widen(student_logits), dim=1).mean(dim=1)
    return reduce_loss(values, valid, reduction)


@LOSSES.register_module()
class LabelSmoothingLoss(LogitLoss):
    """:func:`label_smoothing_loss`, the control of what a teacher adds to softer labels.

    ``losses=dict(kd=dict(type='LabelSmoothingLoss', loss_weight=0.1), picd=None, nicd=None,
    task=dict(loss_weight='complement'))`` is label smoothing by 0.1. Of a segmenter it is so on the
    teacher's grid, while the task's own loss is on that of its head.

    Args:
        dense: asked at every location; False: at the queries of a level.

    Example:
        >>> LabelSmoothingLoss().retrieves
        False
    """

    def forward(self, queries: Queries) -> Tensor:
        """See :func:`label_smoothing_loss`."""
        return label_smoothing_loss(queries.student_logits, reduction="none")
