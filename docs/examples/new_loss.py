"""New loss: the student's distribution approaches that of the most similar row of its class.

    custom_imports = dict(imports=['new_loss'])        # this file, on PYTHONPATH
    custom_hooks = [dict(type='mmickd.ICKDHook', teacher=...,
                         losses=dict(nearest=dict(type='NearestRow', loss_weight=0.5)))]

The log shows ``loss_nearest`` beside the other losses, and ``nearest_valid`` and ``nearest_sim``:
the share of the queries with a row, and the similarity of the rows.
"""

from mmickd.losses import BaseLoss
from mmickd.registry import LOSSES


@LOSSES.register_module()
class NearestRow(BaseLoss):
    """Squared distance between the distributions of the student and of the nearest row."""

    num_positives = 1

    def forward(self, queries):
        """Return ``(Q,)``: the loss of each query, arbitrary where it does not count."""
        target = queries.positives.logits[:, 0].softmax(-1)
        return (queries.student_logits.softmax(-1) - target).square().sum(-1)

    def counted(self, queries):
        """Return ``(Q,)`` bool: True for the queries that have a row."""
        return queries.positives.has_rows
