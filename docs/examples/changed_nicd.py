"""Changed formula of NICD: only rows more similar to the student than to the teacher count.

custom_imports = dict(imports=['changed_nicd'])
losses = dict(nicd=dict(type='MarginNICD', margin=0.1))      # replaces NICDLoss
"""

import torch

from mmickd.losses import NICDLoss
from mmickd.losses.nicd import bounded_direction, direction
from mmickd.registry import LOSSES
from mmickd.utils.validation import check_number


@LOSSES.register_module()
class MarginNICD(NICDLoss):
    """NICD with a penalty for excess similarity to negatives only.

    Args:
        margin: Similarity to a negative in excess of the teacher's that is not penalised.
        num_negatives: Negatives to retrieve for each query.
    """

    def __init__(self, margin: float = 0.0, num_negatives: int = 32) -> None:
        super().__init__(num_negatives=num_negatives)
        check_number(margin, "margin", least=0)
        self.margin = margin

    def forward(self, queries):
        """Return ``(Q,)``: 1 - q.u + the mean over negatives n of max(0, q.n - u.n - margin)."""
        student = bounded_direction(queries.student_logits)
        teacher = direction(queries.teacher_logits)
        negatives = direction(queries.negatives.logits)
        excess = torch.einsum("qc,qnc->qn", student - teacher, negatives) - self.margin
        penalty = excess.clamp(min=0) * queries.negatives.mask
        penalty = penalty.sum(1) / queries.negatives.mask.sum(1).clamp(min=1)
        return 1 - (student * teacher).sum(1) + penalty
