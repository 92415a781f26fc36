"""A changed formula of NICD: push only from rows that are nearer than the teacher has them.

custom_imports = dict(imports=['changed_nicd'])
losses = dict(nicd=dict(type='MarginNICD', margin=0.1))      # in the place of the stock one
"""

import torch

from mmickd.losses import NICDLoss
from mmickd.losses.nicd import bounded_direction, direction
from mmickd.registry import LOSSES
from mmickd.utils.validation import check_number


@LOSSES.register_module()
class MarginNICD(NICDLoss):
    """Pull to the teacher's own view, push from each negative down to the teacher's likeness.

    Args:
        margin: likeness to a negative beyond the teacher's that is not punished yet.
        num_negatives: negatives to retrieve for each query.
    """

    def __init__(self, margin: float = 0.0, num_negatives: int = 32) -> None:
        super().__init__(num_negatives=num_negatives)
        check_number(margin, "margin", least=0)
        self.margin = margin

    def forward(self, queries):
        """``(Q,)``: 1 - q.u, and the mean over the negatives n of max(0, q.n - u.n - margin)."""
        student = bounded_direction(queries.student_logits)
        teacher = direction(queries.teacher_logits)
        negatives = direction(queries.negatives.logits)
        likeness = torch.einsum("qc,qnc->qn", student - teacher, negatives) - self.margin
        too_near = likeness.clamp(min=0) * queries.negatives.mask
        push = too_near.sum(1) / queries.negatives.mask.sum(1).clamp(min=1)
        return 1 - (student * teacher).sum(1) + push
