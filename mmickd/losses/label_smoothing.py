"""Label smoothing as a term: a control without a teacher."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmickd.losses.base import LogitLoss, widen
from mmickd.registry import LOSSES
from mmickd.structures import Queries


@LOSSES.register_module()
class LabelSmoothingLoss(LogitLoss):
    """Label smoothing: ``-mean_c log p_c`` with ``p = softmax(z^s)``, a control without teacher.

    ``e`` times this loss plus ``1 - e`` times the cross-entropy is the cross-entropy with labels
    smoothed by ``e``: ``losses=dict(kd=dict(type='LabelSmoothingLoss', loss_weight=0.1),
    picd=None, nicd=None, task=dict(loss_weight='complement'))`` smooths by 0.1. In a segmenter it
    applies to the teacher's grid, while the task's own loss applies to the grid of its head.

    Source: Szegedy et al., 'Rethinking the Inception Architecture' (arXiv 1512.00567), section 7.

    Args:
        dense: See :class:`~mmickd.losses.LogitLoss`.

    Example:
        >>> import torch
        >>> LabelSmoothingLoss()(Queries(torch.zeros(1, 2), torch.zeros(1, 2)))
        tensor([0.6931])
    """

    def forward(self, queries: Queries) -> Tensor:
        """Return the loss of each query, ``(Q,)``."""
        return -F.log_softmax(widen(queries.student_logits), dim=1).mean(dim=1)
